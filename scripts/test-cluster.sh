#!/bin/bash
# The whole product in a real cluster of one node: images, charts, quick start, edits, a mistake,
# `helm test`, then each part killed and each Deployment restarted under load. Needs root, about
# 10 minutes and 4 GiB; builds what is missing. KEEP=1 leaves the cluster running.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${DIR:-/tmp/tollgate-cluster}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/bin:$PATH
namespace=tollgate
say() { printf '\n== %s (%s)\n' "$*" "$(date +%T)"; }
k() { "$dir/run" kubectl "$@"; }
kn() { k -n $namespace "$@"; }

cleanup() {
    status=$?
    [ $status = 0 ] || { echo "FAILED; what there is:"; k get pods -A -o wide || true; kn get events --sort-by=.lastTimestamp 2>/dev/null | tail -20 || true; }
    exec 9>&- 2>/dev/null || true
    [ -n "${KEEP:-}" ] || scripts/cluster/node.sh down "$dir"
    exit $status
}

await() { # what seconds command...
    local what=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "error: $what does not come"; return 1; }
        sleep 0.5
    done
    echo "ok: $what"
}

# `curl` of the gateway from the node: path, further arguments.
ask() {
    local path=$1
    shift
    "$dir/run" curl -s -o /dev/null -m 5 -w '%{http_code}' -H 'host: gateway.test' "$@" "http://$gateway$path"
}
answers() { [ "$(ask "$1" "${@:3}")" = "$2" ]; }
# A limit is reached after some requests.
limited() { for _ in $(seq 30); do answers "$1" 429 && return; done; return 1; }

bring_up() {
    say "images"
    [ -s target/images/gateway.tar ] && [ -z "${IMAGES:-}" ] || scripts/images.sh
    say "cluster"
    scripts/cluster/node.sh up "$dir"
    scripts/cluster/node.sh import "$dir" target/images/*.tar
}

install() {
    say "charts"
    scripts/install-chart-tools.sh
    "$dir/run" helm install tollgate-crds deploy/charts/tollgate-crds >/dev/null
    k create namespace $namespace >/dev/null
    k label namespace $namespace pod-security.kubernetes.io/enforce=restricted >/dev/null
    local image='repository=localhost/tollgate'
    "$dir/run" helm install tollgate deploy/charts/tollgate -n $namespace --timeout 5m --wait \
        -f scripts/cluster/values.yaml
    kn get pods -o wide
    gateway=$(kn get service tollgate-gateway -o 'jsonpath={.spec.clusterIP}')
}

quick_start() {
    say "quick start"
    k apply -f scripts/cluster/backend.yaml >/dev/null
    # The example's own Listener and services are those of the chart here.
    k create -f docs/examples/quickstart --dry-run=client -o json |
        python3 scripts/cluster/adapt.py > "$dir/quickstart.json"
    k apply -f "$dir/quickstart.json" >/dev/null
    k rollout status deployment/echo --timeout 60s >/dev/null
    await "200" 60 answers /backend/hello 200
    await "401 without a token" 30 answers /private/hello 401
    await "200 with a token" 30 answers /private/hello 200 -H "authorization: Bearer $(cat docs/examples/tokens/alice.jwt)"
    await "429 after some requests" 30 limited /backend/hello
    k wait --for=condition=Programmed --timeout 30s mapping.v3alpha1.getambassador.io --all
    # Nothing is defaulted and status is no difference, so tools that compare are content.
    k diff -f "$dir/quickstart.json" && echo "ok: kubectl diff is clean"
    k apply --server-side --force-conflicts -f "$dir/quickstart.json" >/dev/null
    k diff --server-side --force-conflicts -f "$dir/quickstart.json" && echo "ok: also server-side"
}

edit_live() {
    say "an edit is live"
    k patch mapping.v3alpha1.getambassador.io backend --type merge -p '{"spec":{"prefix":"/moved/"}}' >/dev/null
    await "404 at the old path" 10 answers /backend/hello 404
    k patch mapping.v3alpha1.getambassador.io backend --type merge -p '{"spec":{"prefix":"/backend/"}}' >/dev/null
    say "a mistake is told"
    k apply -f - >/dev/null <<'Y'
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: mistake}
spec: {hostname: "*", prefix: /mistake/, service: "echo:99999"}
Y
    k wait --for=condition=Accepted=false --timeout 20s mapping.v3alpha1.getambassador.io/mistake
    k get mapping.v3alpha1.getambassador.io mistake -o 'jsonpath={.status.conditions[0].message}{"\n"}'
    k delete mapping.v3alpha1.getambassador.io mistake >/dev/null
}

faults() {
    say "faults under load"
    # The limit would hide what happens to requests.
    k delete module.v3alpha1.getambassador.io ambassador --ignore-not-found >/dev/null
    local report=$dir/load.json pipe=$dir/phases part
    mkfifo "$pipe"
    "$dir/run" python3 scripts/cluster/load.py "$gateway:80" "$report" < "$pipe" &
    local load=$!
    exec 9> "$pipe"
    sleep 3
    for part in gateway-ctl:gateway-ctl ratelimit:ratelimit-svc authz:authz-svc redis:redis gateway:envoy; do
        echo "kill ${part%:*}" >&9
        scripts/cluster/node.sh crash "$dir" $namespace "${part#*:}"
        sleep 3
        settle "${part%:*}"
        echo "rest" >&9
        sleep 2
    done
    for part in gateway-ctl ratelimit authz gateway; do
        echo "restart $part" >&9
        kn rollout restart "deployment/tollgate-$part" >/dev/null
        settle "$part"
        echo "rest" >&9
        sleep 2
    done
    exec 9>&-
    wait $load
    python3 scripts/cluster/report.py "$report"
}

settle() {
    kn rollout status "deployment/tollgate-$1" --timeout 180s >/dev/null
}

show() {
    say "kubectl get of all kinds"
    k get listeners.v3alpha1.getambassador.io,hosts.v3alpha1.getambassador.io,mappings.v3alpha1.getambassador.io,filters.v3alpha1.getambassador.io,filterpolicies.v3alpha1.getambassador.io,ratelimits.v3alpha1.getambassador.io -A
    k get authservices.v3alpha1.getambassador.io,ratelimitservices.v3alpha1.getambassador.io -A
}

trap cleanup EXIT
[ -n "${REUSE:-}" ] || bring_up
if [ -n "${REUSE:-}" ]; then gateway=$(kn get service tollgate-gateway -o 'jsonpath={.spec.clusterIP}' 2>/dev/null || true); fi
for phase in ${PHASES:-install quick_start edit_live helm_test faults show}; do
    if [ "$phase" = helm_test ]; then
        say "helm test"
        "$dir/run" helm test tollgate -n $namespace --timeout 3m | grep -E '^(TEST SUITE|Phase)' || exit 1
    else
        $phase
    fi
done
say "all as it should be"
