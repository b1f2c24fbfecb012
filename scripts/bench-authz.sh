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

# beside_logins: API keys at a steady rate, alone and while 50 users a second log in with passwords.
# Each round has a service of its own, for passwords that were verified are known afterwards.
beside_logins() {
    local round how login
    : >"$work/results"
    for round in $(seq "$rounds"); do
        say "Round $round of $rounds: API keys beside logins"
        authz authz-svc-logins logins "$1" "$2"
        for how in alone beside-logins; do
            login=
            if [ "$how" = beside-logins ]; then
                "$bin/authz-load" run "${addr[authz-svc-logins]}" --workload login --json --tolerant \
                    --connections 1 --in-flight 50 --rate 50 --seconds $((seconds + 1)) >"$work/logins" &
                login=$!
            fi
            "$bin/authz-load" run "${addr[authz-svc-logins]}" --workload api-key --json --connections 4 \
                --in-flight 64 --rate 4000 --seconds "$seconds" --pid "$pid" >"$work/line"
            [ -z "$login" ] || wait "$login"
            echo "$how $(cat "$work/line")" >>"$work/results"
        done
        kill "$pid"
        wait "$pid" || true
    done
    echo
    python3 - "$work/results" "$work/logins" <<'PYTHON'
import json, statistics, sys
ways = {}
for line in open(sys.argv[1]):
    how, numbers = line.split(" ", 1)
    ways.setdefault(how, []).append(json.loads(numbers))
median = lambda how, key: statistics.median(r[key] for r in ways[how])
print("| API keys, 4,000 a second | p50 µs | p99 µs | p99.9 µs |")
print("|---|--:|--:|--:|")
for how in ways:
    print(f"| {how.replace('-', ' ')} | " + " | ".join(f"{median(how, k):,.0f}" for k in ("p50_us", "p99_us", "p999_us")) + " |")
pairs = zip(ways["alone"], ways["beside-logins"])
ratio = statistics.median(beside["p99_us"] / alone["p99_us"] for alone, beside in pairs)
logins = json.load(open(sys.argv[2]))
print(f"\np99 beside logins is {ratio:.2f} times that alone; of the logins of the last round "
      f"{logins['checks']} were answered, p50 {logins['p50_us'] / 1000:.0f} ms, and {logins['errors']} refused.")
PYTHON
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
read -ra port <<<"$(free_ports 17)"

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
echo
echo "API keys while 50 users a second log in with passwords (bcrypt, cost 8):"
beside_logins "${port[15]}" "${port[16]}"
