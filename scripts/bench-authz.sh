#!/bin/bash
# Speed of authz-svc, as docs/benchmarks.md explains: ratios to an empty server, to other services, and
# of many policies to few, all in one run. Says nothing about good or bad; fails only when a server errs.
# Usage: [PROFILE=release|dev] [ROUNDS=3] [SECONDS_EACH=4] scripts/bench-authz.sh
# BIN=FOLDER measures programs that are built already. OPA_ENVOY=PROGRAM is OPA with its plugin for Envoy.
# OTHERS="NAME=HOST:PORT=PID …" are servers that run already, with the rules of `authz-load configure`.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-4}
bin=${BIN:-target/$([ "$profile" = dev ] && echo debug || echo "$profile")}

. scripts/bench-lib.sh

declare -A addr process
serves() { # NAME PORT: $pid answers there
    wait_port "$1" "$2"
    addr[$1]=127.0.0.1:$2 process[$1]=$pid
}

# authz NAME FOLDER PORT ADMIN_PORT [VARIABLE=VALUE…]: waits until its configuration is in force.
authz() {
    local name=$1 folder=$2 port=$3 admin=$4
    shift 4
    start "$name" env "$@" "$bin/authz-svc" --config "$work/policies/$folder" --log-level error \
        --grpc-addr "127.0.0.1:$port" --admin-addr "127.0.0.1:$admin"
    serves "$name" "$port"
}

# OPA listens on ports of its own, too; all of them on loopback.
opa_envoy() {
    local program=${OPA_ENVOY:-}
    [ -n "$program" ] || program=$(command -v opa-envoy-plugin || true)
    if [ ! -x "$program" ]; then
        say "OPA-Envoy is left out: there is no opa-envoy-plugin on PATH; name its program by OPA_ENVOY"
        return
    fi
    cat >"$work/opa.yaml" <<YAML
plugins:
  envoy_ext_authz_grpc: {addr: "127.0.0.1:$1", path: envoy/authz/allow}
YAML
    start opa-envoy "$program" run --server --addr "127.0.0.1:$2" --diagnostic-addr "127.0.0.1:$3" \
        --disable-telemetry --log-level error --config-file "$work/opa.yaml" "$work/policies/opa.rego"
    serves opa-envoy "$1"
}

others() {
    local one name rest
    for one in ${OTHERS:-}; do
        name=${one%%=*} rest=${one#*=}
        addr[$name]=${rest%%=*} process[$name]=${rest#*=}
        peers+=("$name")
    done
}

# measure WORKLOAD SERVER…: each under authz-load; SERVER/WORKLOAD is one with a workload of its own.
measure() {
    local default=$1 round one server workload
    shift
    : >"$work/results"
    for round in $(seq "$rounds"); do
        say "Round $round of $rounds: $default: $*"
        # One after the other within a round, so that what else the machine does hits all alike.
        for one in "$@"; do
            server=${one%/*} workload=$default
            [ "$server" = "$one" ] || workload=${one#*/}
            local more=()
            [[ $server != ceiling* ]] || more=(--undecided)
            if ! "$bin/authz-load" run "${addr[$server]}" --workload "$workload" "${more[@]}" --json \
                --connections 4 --in-flight 64 --seconds "$seconds" --pid "${process[$server]}" >"$work/line"; then
                say "error: $server erred: $(cat "$work/line")"
                [ ! -f "$work/$server.log" ] || tail -n 20 "$work/$server.log" >&2
                exit 1
            fi
            echo "$one $(cat "$work/line")" >>"$work/results"
        done
    done
    echo
    table
}

table() {
    python3 - "$work/results" <<'PYTHON'
import json, statistics, sys
servers = {}
for line in open(sys.argv[1]):
    name, numbers = line.split(" ", 1)
    servers.setdefault(name, []).append(json.loads(numbers))
print("| server | checks/s | server CPU µs/check | the first of it | p50 µs | p99 µs | RSS MiB |")
print("|---|--:|--:|--:|--:|--:|--:|")
cpu = lambda rounds: [r["server_cpu_us_per_check"] for r in rounds]
first = cpu(next(iter(servers.values())))
for name, rounds in servers.items():
    of = lambda key: statistics.median(r[key] for r in rounds)
    # Round by round: the two of a pair met the same machine.
    ratio = statistics.median(mine / its for mine, its in zip(first, cpu(rounds)))
    print(f"| {name} | {of('checks_per_second'):,.0f} | {statistics.median(cpu(rounds)):.1f} | {ratio:.2f} "
          f"| {of('p50_us'):,.0f} | {of('p99_us'):,.0f} | {of('server_resident_kib') / 1024:.0f} |")
PYTHON
}

if [ -z "${BIN:-}" ]; then
    say "Building ($profile) ..."
    cargo build -q --profile "$profile" -p authz-svc -p bench --bins
fi
"$bin/authz-load" configure "$work/policies"
read -ra port <<<"$(free_ports 15)"

start ceiling "$bin/authz-ceiling" --addr "127.0.0.1:${port[0]}"
serves ceiling "${port[0]}"
start ceiling-lean "$bin/authz-ceiling" --lean --addr "127.0.0.1:${port[1]}"
serves ceiling-lean "${port[1]}"
authz authz-svc-api-key api-key "${port[2]}" "${port[3]}"
authz authz-svc-jwt jwt "${port[4]}" "${port[5]}"
authz authz-svc-few few-policies "${port[6]}" "${port[7]}"
authz authz-svc-many many-policies "${port[8]}" "${port[9]}"
verifies=authz-svc-jwt
if "$bin/authz-svc" --help | grep -q AUTHZ_TOKEN_CACHE; then
    verifies=authz-svc-jwt-uncached
    authz "$verifies" jwt "${port[10]}" "${port[11]}" AUTHZ_TOKEN_CACHE=0
fi
peers=()
opa_envoy "${port[12]}" "${port[13]}" "${port[14]}"
[ -z "${addr[opa-envoy]:-}" ] || peers+=(opa-envoy)
others

echo "Authorization services: medians of $rounds rounds of $seconds s each, 4 connections, 64 checks in flight."
echo
echo "API key, 100,000 of them:"
measure api-key authz-svc-api-key ceiling ceiling-lean
echo
if [ "$verifies" != authz-svc-jwt ]; then
    echo "JWT RS256, 200 tokens, one in ten with a bad signature; those verified before are known:"
    measure jwt authz-svc-jwt ceiling ceiling-lean
    echo
fi
echo "JWT RS256, 200 tokens, one in ten with a bad signature; each is verified:"
measure jwt "$verifies" ceiling ceiling-lean "${peers[@]}"
echo
echo "10,000 policies on 1,000 hosts beside 10 on one:"
# What many requests that differ cost a server that looks nothing up is not the lookup's.
measure many-policies authz-svc-many authz-svc-few/few-policies ceiling ceiling/few-policies
