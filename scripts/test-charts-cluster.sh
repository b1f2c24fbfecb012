#!/bin/sh
# Installs, upgrades, rolls back and uninstalls each ci/*-values.yaml of the chart tollgate in the cluster
# of KUBECONFIG, in namespaces that enforce restricted pod security, and asks the API server to admit
# the hooks. Kinds that the cluster does not know get definitions without a schema. No pod needs to
# run, so an API server alone will do. Use a cluster for tests: it leaves its definitions there.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
[ -n "${KUBECONFIG:-}" ] || { echo "error: KUBECONFIG is not set; name the kubeconfig of a cluster for tests" >&2; exit 2; }
scripts/require.sh kubectl python3 || exit 1
scripts/install-chart-tools.sh || exit 1
helm=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/bin/helm
chart=deploy/charts/tollgate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

check() {
    what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "ok    $what"
    else
        echo "FAIL  $what"
        head -8 "$work/said" | cut -c1-400 | sed 's/^/      /'
        failed=1
    fi
}

stand_ins() {
    for values in "$chart"/ci/*-values.yaml; do
        "$helm" template tollgate "$chart" -f "$values" && echo ---
    done | python3 -c '
import sys, yaml
known = set(sys.argv[1].split())
for document in yaml.safe_load_all(sys.stdin):
    if not document or "." not in document["apiVersion"].split("/")[0] or document["apiVersion"].split("/")[0].endswith(".k8s.io"):
        continue
    group, version = document["apiVersion"].split("/")
    kind = document["kind"]
    plural = kind.lower()[:-1] + "ies" if kind.endswith("y") else kind.lower() + "s"
    name = f"{plural}.{group}"
    if name in known:
        continue
    known.add(name)
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    print("---")
    print(yaml.safe_dump({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                 "versions": [{"name": version, "served": True, "storage": True, "schema": schema}]},
    }))
' "$(kubectl get crd -o name | sed 's|.*/||')" >"$work/crds.yaml"
    [ ! -s "$work/crds.yaml" ] || kubectl apply --server-side -f "$work/crds.yaml" >/dev/null || return 1
    kubectl wait --for=condition=Established --timeout=60s crd --all
}

# Hooks are not run, only admitted: in a cluster without nodes a Job never ends.
admit_hooks() {
    "$helm" template tollgate "$chart" -n "$1" -f "$2" | python3 -c '
import sys, yaml
for document in yaml.safe_load_all(sys.stdin):
    if document and "helm.sh/hook" in (document["metadata"].get("annotations") or {}):
        print("---")
        print(yaml.safe_dump(document))
' | kubectl apply --dry-run=server -f -
}

make_namespace() {
    kubectl create namespace "$1"
    kubectl label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted
    kubectl -n "$1" get serviceaccount default || kubectl -n "$1" create serviceaccount default
}

# A warning of pod security says that a pod would be refused. Ports of the host are never restricted.
install() {
    "$helm" install tollgate "$chart" -n "$1" --no-hooks -f "$2" 2>"$work/warnings" || { cat "$work/warnings"; return 1; }
    ! grep PodSecurity "$work/warnings" | grep -v hostPort
}

check "kinds are there" stand_ins
for namespace in team-a team-b; do make_namespace "$namespace" >/dev/null 2>&1; done
for values in "$chart"/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    # A namespace that ends may take its time, so that names are new each time.
    namespace=charts-$name-$$
    make_namespace "$namespace" >/dev/null 2>&1
    check "$name: install" install "$namespace" "$values"
    check "$name: upgrade" "$helm" upgrade tollgate "$chart" -n "$namespace" --no-hooks -f "$values" --set commonLabels.upgraded=yes
    check "$name: rollback" "$helm" rollback tollgate 1 -n "$namespace" --no-hooks
    check "$name: uninstall" "$helm" uninstall tollgate -n "$namespace" --no-hooks
    check "$name: hooks are admitted" admit_hooks "$namespace" "$values"
    kubectl delete namespace "$namespace" --wait=false >/dev/null 2>&1
done
exit $failed
