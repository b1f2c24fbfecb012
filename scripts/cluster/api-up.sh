#!/bin/bash
# A real Kubernetes API (etcd, kube-apiserver with RBAC and service accounts) on loopback, without
# nodes and controllers. Several may run at once, each in a folder of its own. Prints `ready` last.
#
# usage: api-up.sh DIR [--port N] [--etcd-port N] [-- KUBE-APISERVER-FLAG…]
#        then DIR/kubeconfig may do everything; api-stop.sh, api-restart.sh, kubeconfig-for.sh,
#        api-down.sh take the same DIR
#
# The etcd port N takes N+1, too. Ports that are not named are free ones that no client of this
# machine is given (20000 to 31999).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/api-lib.sh"

usage() { sed -n '2,10p' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
case $1 in -*) usage ;; esac
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift
port='' etcd=''
while [ $# -gt 0 ]; do
    case $1 in
    --port) port=${2:?} && shift 2 ;;
    --etcd-port) etcd=${2:?} && shift 2 ;;
    --) shift && break ;;
    *) usage ;;
    esac
done

free() { # how many in a row
    local first port
    for _ in $(seq 100); do
        first=$((20000 + RANDOM % 11990))
        for port in $(seq "$first" $((first + $1 - 1))); do
            [ -z "$(ss -Hltn "sport = :$port")" ] || continue 2
        done
        echo "$first"
        return
    done
    die "no free port between 20000 and 31999"
}

"$here/install-tools.sh" --api-only
claim api
undo() {
    end_program apiserver KILL
    end_program etcd KILL
    mv "$dir/log" "$logs" 2>/dev/null || true
    rm -rf --one-file-system "$dir"
}
# The log is all that a failure leaves.
logs=$dir.log
rm -rf "$logs"
trap '[ $? = 0 ] || undo' EXIT

mkdir -p "$dir/log" "$dir/state"
authority DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1
certificate admin /O=system:masters/CN=admin
port=${port:-$(free 1)}
etcd=${etcd:-$(free 2)}
echo "$port" > "$dir/port"
kubeconfig "$dir/kubeconfig" "https://127.0.0.1:$port" "$(holder admin)"

start etcd "$bin/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$((etcd + 1))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((etcd + 1))" \
    --initial-cluster "default=http://127.0.0.1:$((etcd + 1))"
{
    apiserver_flags
    printf -- '--%s\n' "etcd-servers=http://127.0.0.1:$etcd" bind-address=127.0.0.1 \
        advertise-address=127.0.0.1 "secure-port=$port" authorization-mode=RBAC endpoint-reconciler-type=none
    [ $# = 0 ] || printf '%s\n' "$@"
} > "$dir/apiserver.flags"
await "etcd" etcd 30 curl -s --fail "http://127.0.0.1:$etcd/readyz"
start_apiserver
echo ready
