#!/bin/sh
# Tests the Helm charts: one line a check. `--update` writes what is made of other files anew (schemas,
# tables of values, golden renders) before it looks.
# KUBE_SCHEMAS: folder with a folder of kubeconform schemas for each version of Kubernetes
# [default: those of scripts/install-chart-tools.sh].
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root" || exit 1
update=
case ${1:-} in
    --update) update=1 ;;
    "") ;;
    *) echo "usage: test-charts.sh [--update]" >&2; exit 2 ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate
scripts/install-chart-tools.sh || exit 1
helm=$cache/bin/helm
schemas=${KUBE_SCHEMAS:-$cache/kube-schemas}
tollgate=deploy/charts/tollgate
crds=deploy/charts/tollgate-crds
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

failed=0
# check NAME COMMAND…: one line; what the command said only when it failed.
check() {
    what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        echo "ok    $what"
    else
        echo "FAIL  $what"
        sed 's/^/      /' "$work/said"
        failed=1
    fi
}

render() { "$helm" template tollgate "$1" --namespace edge -f "$2"; }

golden() {
    if [ -n "$update" ]; then cp "$1" "$2"; fi
    diff -u "$2" "$1" || { echo "error: not as before; when it is meant: scripts/test-charts.sh --update"; return 1; }
}

conform() {
    "$cache/bin/kubeconform" -strict -schema-location "$1/{{.ResourceKind}}{{.KindSuffix}}.json" \
        -skip Listener,Host,Mapping,Module,AuthService,RateLimitService,TLSContext,RateLimit,Filter,FilterPolicy,Certificate,Issuer,ServiceMonitor,PodMonitor,PrometheusRule \
        "$work"/*.yaml
}

# The release is kept in a Secret of at most 1 MiB.
small_enough() {
    size=$(tar cz -C "$1" . | base64 -w0 | wc -c)
    [ "$size" -lt 700000 ] || { echo "error: $1 is $size bytes when packed, too near to 1 MiB; split it or document kubectl apply --server-side"; return 1; }
}

no_secrets_in_cluster_role() {
    awk 'BEGIN { RS = "---\n" } /\nkind: ClusterRole\n/ && /secrets/ { bad = 1; print } END { exit bad }' "$1"
}

# Helm's own parser is lenient about a key that comes twice.
strict_yaml() {
    python3 - "$@" <<'PYTHON'
import sys, yaml
class Strict(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    pass
def mapping(loader, node):
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise ValueError(f"{key.start_mark}: {key.value} comes twice")
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)
Strict.add_constructor("tag:yaml.org,2002:map", mapping)
for path in sys.argv[1:]:
    names = set()
    for document in yaml.load_all(open(path), Strict):
        if not document:
            continue
        name = (document["apiVersion"], document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        if name in names:
            raise ValueError(f"{path}: {name} comes twice")
        names.add(name)
PYTHON
}

# Metrics of ours that rules and dashboards name, and no program has.
metrics_exist() {
    registered=$(grep -rhoE '"(tollgate|ratelimit|authz)_[a-z_]+"' --include='*.rs' gateway-ctl/server ratelimit-svc/server authz-svc/server | tr -d '"' | sort -u)
    for metric in $(grep -rhoE '\b(tollgate|ratelimit|authz)_[a-z_]+' "$tollgate"/files/dashboards "$tollgate"/templates/metrics/rules.yaml | sed -E 's/_(total|bucket)$//' | sort -u); do
        echo "$registered" | grep -qx "$metric" || { echo "error: no program has the metric $metric"; unknown=1; }
    done
    [ -z "${unknown:-}" ]
}

if [ -n "$update" ]; then scripts/chart-values.py update "$tollgate" "$crds" || exit 1; fi
check "values: schema and README in step" scripts/chart-values.py check "$tollgate" "$crds"

for values in "$tollgate"/ci/*-values.yaml; do
    name=$(basename "$values" -values.yaml)
    check "$name: lint" "$helm" lint --strict --quiet "$tollgate" -f "$values"
    if render "$tollgate" "$values" >"$work/$name.yaml" 2>"$work/error"; then
        check "$name: golden" golden "$work/$name.yaml" "$tollgate/tests/golden/$name.yaml"
    else
        check "$name: render" sh -c "cat $work/error; false"
    fi
done
check "all renders: no key and no object twice" strict_yaml "$work"/*.yaml
check "namespaced: no ClusterRole with Secrets" no_secrets_in_cluster_role "$work/namespaced.yaml"
check "dashboards: are JSON" sh -c "for f in $tollgate/files/dashboards/*.json; do python3 -m json.tool \$f || exit 1; done"
check "dashboards and rules: their metrics exist" metrics_exist
promtool=$(command -v promtool || echo "$cache/bin/promtool")
mkdir "$work/prometheus"
check "rules and dashboards: are read" scripts/prometheus-rules.py "$work/ha.yaml" "$tollgate/files/dashboards" "$work/prometheus"
check "rules and queries: Prometheus takes them" "$promtool" check rules "$work/prometheus/rules.yaml" "$work/prometheus/queries.yaml"
cp "$tollgate/tests/alerts.yaml" "$work/prometheus/"
check "alerts: fire when they are to" "$promtool" test rules "$work/prometheus/alerts.yaml"
check "alerts: each has a test" scripts/prometheus-rules.py tested "$work/ha.yaml" "$tollgate/tests/alerts.yaml"
check "unit tests" "$cache/bin/helm-unittest" --color=false --file 'tests/*_test.yaml' "$tollgate"

# The chart of CRDs with a sample when nothing was generated.
cp -r "$crds" "$work/crds"
if ! ls "$crds"/files/own/*.yaml >/dev/null 2>&1; then cp "$crds/tests/sample.yaml" "$work/crds/files/own/"; fi
check "crds: lint" "$helm" lint --strict --quiet "$work/crds"
check "crds: render" sh -c "'$helm' template tollgate-crds '$work/crds' > '$work/crds.yaml'"
check "crds: kept at uninstall" sh -c "test \$(grep -c 'helm.sh/resource-policy: keep' '$work/crds.yaml') = \$(grep -c '^kind: CustomResourceDefinition' '$work/crds.yaml')"
check "crds: numbers stay integers" sh -c "! grep -nE '[0-9]e\+[0-9]' '$work/crds.yaml'"
check "crds: keep can be turned off" sh -c "'$helm' template tollgate-crds '$work/crds' --set keep=false | (! grep resource-policy)"
check "crds: small enough for a release" small_enough "$work/crds"
check "tollgate: small enough for a release" small_enough "$tollgate"

if ls -d "$schemas"/*/ >/dev/null 2>&1; then
    for version in "$schemas"/*/; do
        check "kubeconform: Kubernetes $(basename "$version")" conform "${version%/}"
    done
else
    echo "skip  kubeconform: no schemas in $schemas"
fi

exit $failed
