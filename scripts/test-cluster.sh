#!/bin/bash
# The whole product in a real cluster of one node: images, charts, quick start, edits, a mistake,
# `helm test`, then each part killed and each Deployment restarted under load. Needs root, about
# 10 minutes and 4 GiB; builds what is missing.
#
# usage: test-cluster.sh [PHASE…]     phases, all of them in this order when none is named: programs
#        names install quick_start edit_live mistake helm_test faults show
#
# DIR=…      where the cluster is, which must not be there yet; a new folder of /tmp when not given, so
#            that runs at the same time are not in each other's way
# KEEP=1     leaves it running; `scripts/cluster/node.sh down DIR` removes it
# REUSE=1    takes the one of DIR, which was kept, and keeps it
# IMAGES=1   builds images anew though there are some
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "${REUSE:-}" ] || [ -n "${DIR:-}" ] || { echo "error: REUSE=1 needs DIR=…, the folder of the cluster that was kept" >&2; exit 2; }
dir=${DIR:-$(mktemp -u /tmp/tollgate-cluster.XXXXXX)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
export PATH=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/bin:$PATH
namespace=tollgate
up='' load='' REUSE=${REUSE:-}
say() { printf '\n== %s (%s)\n' "$*" "$(date +%T)"; }
k() { "$dir/run" kubectl "$@"; }
kn() { k -n $namespace "$@"; }

# Fails, and removes only a cluster that is ours.
cleanup() {
    status=$?
    [ $status = 0 ] || [ -z "$up$REUSE" ] || { echo "FAILED; what there is:"; k get pods -A -o wide || true; kn get events --sort-by=.lastTimestamp 2>/dev/null | tail -20 || true; }
    exec 9>&- 2>/dev/null || true
    [ -z "$load" ] || kill "$load" 2>/dev/null || true
    if [ ! -d "$dir" ]; then
        :
    elif [ -n "${KEEP:-}$REUSE" ]; then
        echo "the cluster stays: $dir/run kubectl get pods -A"
    else
        scripts/cluster/node.sh down "$dir" || true
    fi
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

# Where the gateway is, once there is one.
find_gateway() { gateway=$(kn get service tollgate-gateway -o 'jsonpath={.spec.clusterIP}'); }

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
    up=1
    scripts/cluster/node.sh import "$dir" target/images/*.tar
}

# Every image runs as a pod may at most under restricted pod security, and is what it says.
programs() {
    say "a pod of each image"
    k create namespace programs --dry-run=client -o yaml | k apply -f - >/dev/null
    k label --overwrite namespace programs pod-security.kubernetes.io/enforce=restricted >/dev/null
    # Bare pods need it, and a controller makes it.
    await "the account of the namespace" 30 k -n programs get serviceaccount default
    local image word
    for image in gateway-ctl gateway ratelimit-svc authz-svc redis echo; do
        word=--version
        [ $image != echo ] || word=--help
        sed -e "s/NAME/$image/g; s/TAG/$version/; s/WORD/$word/" scripts/cluster/program.yaml | k apply -f - >/dev/null
    done
    for image in gateway-ctl gateway ratelimit-svc authz-svc redis echo; do
        k -n programs wait --for=jsonpath='{.status.phase}'=Succeeded --timeout 60s "pod/$image" >/dev/null
        printf 'ok: %-14s %s\n' $image "$(k -n programs logs $image | grep . | head -1 | cut -c1-80)"
    done
    # /bin/ratelimit is the same program.
    sed -e "s/NAME/ratelimit-svc/g; s/TAG/$version/; s/WORD/--version/; s/name: ratelimit-svc/name: ratelimit/" \
        -e 's#args:#command: [/bin/ratelimit]\n    args:#' scripts/cluster/program.yaml | k apply -f - >/dev/null
    k -n programs wait --for=jsonpath='{.status.phase}'=Succeeded --timeout 60s pod/ratelimit >/dev/null
    echo "ok: /bin/ratelimit"
    k delete namespace programs --wait=false >/dev/null
}

# What all else stands on: a Service, its name, its endpoints.
names() {
    say "a Service answers by its name"
    sed "s/:0\.1\.0/:$version/" scripts/cluster/backend.yaml | k apply -f - >/dev/null
    k rollout status deployment/echo --timeout 60s >/dev/null
    k delete pod names --ignore-not-found >/dev/null
    k run names --restart=Never --image-pull-policy=IfNotPresent --image "localhost/tollgate-gateway-ctl:$version" -- \
        probe http://echo.default.svc.cluster.local/hello --expect 200 --repeat 1000 --timeout 30s >/dev/null
    k wait --for=jsonpath='{.status.phase}'=Succeeded --timeout 60s pod/names >/dev/null || { k logs names; return 1; }
    k delete pod names --wait=false >/dev/null
    echo "ok: 200 of http://echo.default.svc.cluster.local/hello"
}

install() {
    say "charts"
    scripts/install-chart-tools.sh
    "$dir/run" helm install tollgate-crds deploy/charts/tollgate-crds >/dev/null
    k create namespace $namespace >/dev/null
    k label namespace $namespace pod-security.kubernetes.io/enforce=restricted >/dev/null
    "$dir/run" helm install tollgate deploy/charts/tollgate -n $namespace --timeout 5m --wait \
        -f scripts/cluster/values.yaml
    kn get pods -o wide
}

quick_start() {
    say "quick start"
    find_gateway
    sed "s/:0\.1\.0/:$version/" scripts/cluster/backend.yaml | k apply -f - >/dev/null
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
    k diff -f "$dir/quickstart.json"
    echo "ok: kubectl diff is clean"
    k apply --server-side --force-conflicts -f "$dir/quickstart.json" >/dev/null
    k diff --server-side --force-conflicts -f "$dir/quickstart.json"
    echo "ok: also server-side"
}

edit_live() {
    say "an edit is live"
    find_gateway
    k patch mapping.v3alpha1.getambassador.io backend --type merge -p '{"spec":{"prefix":"/moved/"}}' >/dev/null
    await "404 at the old path" 10 answers /backend/hello 404
    k patch mapping.v3alpha1.getambassador.io backend --type merge -p '{"spec":{"prefix":"/backend/"}}' >/dev/null
}

mistake() {
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

# How often ratelimit-svc and authz-svc were asked, since their pods began. Without this a fault of a
# part that nobody asks would look like one that nobody feels.
asked() { # component port metric
    local address
    for address in $(kn get pods -l "app.kubernetes.io/component=$1" -o 'jsonpath={.items[*].status.podIP}'); do
        "$dir/run" curl -s -m 5 "http://$address:$2/metrics" || true
    done | awk -v metric="^$3([{]|$)" '$1 ~ metric { sum += $NF } END { print sum + 0 }'
}

pods_of() { kn get pods -l "app.kubernetes.io/component=$1" --field-selector status.phase=Running -o 'jsonpath={.items[*].metadata.name}'; }

delete_one() { # component
    local pods
    read -ra pods <<<"$(pods_of "$1")"
    [ ${#pods[@]} -gt 0 ] || { echo "error: there is no pod of $1"; return 1; }
    kn delete pod --wait=false --grace-period=0 --force "${pods[0]}" >/dev/null 2>&1
}

crash_one() { # component
    local pods before
    read -ra pods <<<"$(pods_of "$1")"
    [ ${#pods[@]} -gt 0 ] || { echo "error: there is no pod of $1"; return 1; }
    before=$(kn get pod "${pods[0]}" -o "jsonpath={.status.containerStatuses[0].restartCount}")
    scripts/cluster/node.sh crash "$dir" "$(kn get pod "${pods[0]}" -o "jsonpath={.status.containerStatuses[0].containerID}")"
    restarted() { [ "$(kn get pod "${pods[0]}" -o "jsonpath={.status.containerStatuses[0].restartCount}")" -gt "$before" ]; }
    await "crash of ${pods[0]}, which begins anew" 60 restarted
    kn wait --for=condition=Ready --timeout 120s "pod/${pods[0]}" >/dev/null
}

restart_all() { kn rollout restart "deployment/tollgate-$1" >/dev/null; } # component

faults() {
    say "faults under load"
    find_gateway
    # A limit that is asked for and not reached: a request that is refused would hide what happens to it.
    k patch ratelimit.v3alpha1.getambassador.io quickstart --type json \
        -p '[{"op":"replace","path":"/spec/limits/0/rate","value":10000000}]' >/dev/null
    unlimited() { for _ in $(seq 20); do answers /backend/hello 200 || return 1; done; }
    await "the higher limit" 60 unlimited
    local part before
    for part in ratelimit:6070:ratelimit_requests_total authz:6071:authz_checks_total; do
        # shellcheck disable=SC2086 # three words
        before=$(asked ${part//:/ })
        unlimited
        # shellcheck disable=SC2086
        [ "$(asked ${part//:/ })" -ge $((before + 20)) ] ||
            { echo "error: requests do not reach ${part%%:*}, so its faults would not be felt"; return 1; }
        echo "ok: each request reaches ${part%%:*}"
    done
    local report=$dir/load.json pipe=$dir/phases fault
    rm -f "$pipe"
    mkfifo "$pipe"
    "$dir/run" python3 scripts/cluster/load.py "$gateway:80" "$report" < "$pipe" &
    load=$!
    exec 9> "$pipe"
    sleep 3
    for fault in delete_one crash_one restart_all; do
        for part in gateway-ctl ratelimit authz redis gateway; do
            echo "${fault%_*} $part" >&9
            $fault $part
            sleep 2
            settle "$part"
            echo "rest" >&9
            sleep 2
        done
    done
    exec 9>&-
    wait "$load"
    load=
    mkdir -p target
    python3 scripts/cluster/report.py "$report" | tee target/cluster-faults.txt
    cp "$report" target/cluster-faults.json
}

settle() {
    kn rollout status "deployment/tollgate-$1" --timeout 180s >/dev/null
}

show() {
    say "kubectl get of all kinds"
    k get listeners.v3alpha1.getambassador.io,hosts.v3alpha1.getambassador.io,mappings.v3alpha1.getambassador.io,filters.v3alpha1.getambassador.io,filterpolicies.v3alpha1.getambassador.io,ratelimits.v3alpha1.getambassador.io -A
    k get authservices.v3alpha1.getambassador.io,ratelimitservices.v3alpha1.getambassador.io -A
}

helm_test() {
    say "helm test"
    "$dir/run" helm test tollgate -n $namespace --timeout 3m | grep -E '^(TEST SUITE|Phase)'
}

phases=(programs names install quick_start edit_live mistake helm_test faults show)
for phase in "$@"; do
    [[ " ${phases[*]} " = *" $phase "* ]] || { echo "error: there is no phase $phase; there are: ${phases[*]}" >&2; exit 2; }
done
if [ -n "${REUSE:-}" ]; then
    [ -x "$dir/run" ] || { echo "error: there is no cluster in $dir to be reused; run this with KEEP=1 first" >&2; exit 1; }
elif [ -n "$(ls -A "$dir" 2>/dev/null)" ]; then
    echo "error: $dir is there already; REUSE=1 takes it, DIR=… names another folder" >&2
    exit 1
fi
trap cleanup EXIT
[ -n "${REUSE:-}" ] || bring_up
for phase in ${*:-${PHASES:-${phases[*]}}}; do $phase; done
say "all as it should be"
