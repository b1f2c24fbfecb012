#!/bin/bash
# Speed, as docs/benchmarks.md explains: rate limit services under one load generator as ratios to a
# ceiling, then the gateway with many Mappings. Says nothing about good or bad; fails only when a
# server errs. Usage: [PROFILE=release|dev] [ROUNDS=3] [SECONDS_EACH=4] scripts/bench.sh [rls|controller]
# BIN=FOLDER measures programs that are built already.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
rounds=${ROUNDS:-3}
seconds=${SECONDS_EACH:-4}
part=${1:-all}
bin=${BIN:-target/$([ "$profile" = dev ] && echo debug || echo "$profile")}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate

. scripts/bench-lib.sh

# The peer, built once; its path, or nothing and a word why.
peer() {
    local program=$cache/bin/service_cmd
    if [ ! -x "$program" ]; then
        command -v go >/dev/null || { say "envoyproxy/ratelimit is left out: there is no go on PATH"; return; }
        say "Building envoyproxy/ratelimit (once) ..."
        mkdir -p "$cache/bin"
        if ! GOBIN=$cache/bin go install github.com/envoyproxy/ratelimit/src/service_cmd@latest >"$work/go.log" 2>&1; then
            say "envoyproxy/ratelimit is left out: go install failed: $(tail -n 1 "$work/go.log")"
            return
        fi
    fi
    echo "$program"
}

names=() addrs=() pids=() stores=()
serves() { # NAME PORT [PID OF ITS STORE]: $pid answers there
    wait_port "$1" "$2"
    names+=("$1") addrs+=("127.0.0.1:$2") pids+=("$pid") stores+=("${3:-}")
}

# Limitador's library behind the RLS; a crate of its own, so that nothing of it is in the workspace.
limitador() {
    local target=$PWD/target/limitador
    if (cd tests/bench/limitador && cargo build -q --release --target-dir "$target") 2>"$work/limitador.log"; then
        echo "$target/release/bench-limitador"
    else
        say "Limitador is left out: it does not build: $(tail -n 1 "$work/limitador.log")"
    fi
}

start_servers() {
    # One file for all: every counter is far from its limit, so that each answer must be OK. The peer
    # does not know leases, and gets the file without that limit.
    mkdir -p "$work/limits/ratelimit/config" "$work/own"
    cat >"$work/limits/ratelimit/config/bench.yaml" <<'YAML'
domain: bench
descriptors:
- key: k
  rate_limit: {unit: hour, requests_per_unit: 4000000000}
YAML
    { cat "$work/limits/ratelimit/config/bench.yaml"
      echo "- {key: leased, rate_limit: {unit: hour, requests_per_unit: 4000000000, lease: 1000}}"
      for i in $(seq 0 9999); do
          echo "- {key: each, value: v$i, rate_limit: {unit: hour, requests_per_unit: 4000000000}}"
      done
    } >"$work/own/bench.yaml"
    local port redis own_redis peer_redis program
    read -ra port <<<"$(free_ports 13)"
    own_redis=${port[0]} peer_redis=${port[1]}

    start ceiling "$bin/rls-ceiling" --addr "127.0.0.1:${port[2]}"
    serves ceiling "${port[2]}"

    program=$(limitador)
    if [ -n "$program" ]; then
        start limitador-memory "$program" "127.0.0.1:${port[10]}"
        serves limitador-memory "${port[10]}"
    fi

    start ratelimit-svc-memory "$bin/ratelimit-svc" --config "$work/own" --http-addr off \
        --grpc-addr "127.0.0.1:${port[3]}" --admin-addr "127.0.0.1:${port[4]}"
    serves ratelimit-svc-memory "${port[3]}"

    if ! command -v redis-server >/dev/null; then
        say "Redis is left out: there is no redis-server on PATH (make tools installs it)"
        return
    fi
    local redis_pids=()
    for redis in "$own_redis" "$peer_redis"; do
        start_redis "$redis"
        redis_pids+=("$pid")
    done
    # Its 15 ms are for production; the peer has 10 s. A busy machine shall not fail the run.
    start ratelimit-svc-redis env REDIS_TIMEOUT=1s "$bin/ratelimit-svc" --config "$work/own" \
        --http-addr off --grpc-addr "127.0.0.1:${port[5]}" --admin-addr "127.0.0.1:${port[6]}" \
        --redis-url "redis://127.0.0.1:$own_redis"
    serves ratelimit-svc-redis "${port[5]}" "${redis_pids[0]}"

    program=$(peer)
    [ -n "$program" ] || return 0
    start envoyproxy-ratelimit-redis env USE_STATSD=false LOG_LEVEL=error \
        RUNTIME_ROOT="$work/limits" RUNTIME_SUBDIRECTORY=ratelimit RUNTIME_WATCH_ROOT=false \
        HOST=127.0.0.1 PORT="${port[7]}" GRPC_HOST=127.0.0.1 GRPC_PORT="${port[8]}" \
        DEBUG_HOST=127.0.0.1 DEBUG_PORT="${port[9]}" \
        REDIS_SOCKET_TYPE=tcp REDIS_TYPE=SINGLE REDIS_URL="127.0.0.1:$peer_redis" "$program"
    serves envoyproxy-ratelimit-redis "${port[8]}" "${redis_pids[1]}"
}

# measure PATTERN ARGUMENT…: every server whose name fits, under rls-load with those arguments.
measure() {
    local pattern=$1 round i
    shift
    : >"$work/results"
    for round in $(seq "$rounds"); do
        say "Round $round of $rounds: $*"
        # One after the other within a round, so that what else the machine does hits all alike.
        for i in "${!names[@]}"; do
            [[ ${names[$i]} =~ $pattern ]] || continue
            # The ceiling alone knows no limits.
            local more=(--limited)
            [ "${names[$i]}" != ceiling ] || more=()
            [ -z "${stores[$i]}" ] || more+=(--store-pid "${stores[$i]}")
            if ! "$bin/rls-load" "${addrs[$i]}" "${more[@]}" --pid "${pids[$i]}" --seconds "$seconds" --json "$@" >"$work/line"; then
                say "error: ${names[$i]} erred: $(cat "$work/line")"
                tail -n 20 "$work/${names[$i]}.log" >&2
                exit 1
            fi
            echo "${names[$i]} $(cat "$work/line")" >>"$work/results"
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
print("| server | requests/s | server CPU µs/request | of the first | Redis CPU µs/request | p50 µs | p99 µs | p99.9 µs |")
print("|---|--:|--:|--:|--:|--:|--:|--:|")
first = None
for name, rounds in servers.items():
    of = lambda key: statistics.median(r[key] for r in rounds)
    cpu = of("server_cpu_us_per_request")
    first = first or cpu
    store = f"{of('store_cpu_us_per_request'):.1f}" if rounds[0]["store_cpu_us_per_request"] is not None else ""
    print(f"| {name} | {of('requests_per_second'):,.0f} | {cpu:.1f} | {cpu / first:.2f} | {store} "
          f"| {of('p50_us'):,.0f} | {of('p99_us'):,.0f} | {of('p999_us'):,.0f} |")
PYTHON
}

if [ -z "${BIN:-}" ]; then
    say "Building ($profile) ..."
    cargo build -q --profile "$profile" -p ratelimit-svc -p gateway-ctl -p bench --bins
fi

if [ "$part" != controller ]; then
    start_servers
    echo
    echo "Rate limit services: medians of $rounds rounds of $seconds s each."
    echo
    echo "10,000 keys, 4 connections, 256 requests in flight:"
    measure . --keys 10000 --connections 4 --in-flight 256
    echo
    echo "One hot key, the same otherwise:"
    measure redis --keys 1 --connections 4 --in-flight 256
    echo
    echo "One hot key that is leased:"
    measure ratelimit-svc --key leased --keys 1 --connections 4 --in-flight 256
    echo
    echo "10,000 limits, a key each:"
    measure ratelimit-svc --key each --keys 10000 --connections 4 --in-flight 256
    echo
    echo "16 requests in flight on one connection:"
    measure . --keys 10000 --connections 1 --in-flight 16
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    started=()
fi
if [ "$part" != rls ]; then
    for program in mappings endpoints controller requests; do
        echo
        # timeout passes a signal on to what the program started, too.
        TMPDIR=$work timeout 300 "$bin/$program" &
        pid=$!
        started=("$pid")
        wait "$pid" || { say "error: the benchmark $program failed"; exit 1; }
    done
fi
