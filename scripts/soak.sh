#!/bin/bash
# ratelimit-svc on Redis at a steady rate for a long time, with Redis killed and restarted twice: what
# callers saw, and that memory stays. Says nothing about good or bad; fails only when nothing was
# answered at the end. Usage: [SECONDS_ALL=600] [RATE=N: half of the top when not set] [BIN=FOLDER] scripts/soak.sh
set -euo pipefail
cd "$(dirname "$0")/.."
all=${SECONDS_ALL:-600}
bin=${BIN:-target/release}
. scripts/bench-lib.sh
if [ -z "${BIN:-}" ]; then cargo build -q --release -p ratelimit-svc -p bench --bins; fi

read -r redis grpc admin <<<"$(free_ports 3)"
memory() { awk '/VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$service/status"; }

cat >"$work/soak.yaml" <<'YAML'
domain: bench
descriptors:
- key: k
  rate_limit: {unit: minute, requests_per_unit: 4000000000}
YAML
start_redis "$redis"
redis_pid=$pid
start ratelimit-svc "$bin/ratelimit-svc" --config "$work/soak.yaml" --http-addr off --grpc-addr "127.0.0.1:$grpc" \
    --admin-addr "127.0.0.1:$admin" --redis-url "redis://127.0.0.1:$redis"
service=$pid
wait_port ratelimit-svc "$grpc"
load() { "$bin/rls-load" "127.0.0.1:$grpc" --keys 10000 --connections 4 --in-flight 256 "$@"; }

if [ -z "${RATE:-}" ]; then
    top=$(load --seconds 5 --tolerant --json | python3 -c 'import json, sys; print(int(json.load(sys.stdin)["requests_per_second"]))')
    RATE=$((top / 2))
    echo "top load $top requests/s; soaking at $RATE for $all s"
fi
load --seconds "$all" --rate "$RATE" --tolerant --pid "$service" >"$work/result" &
loader=$!
started+=("$loader")
begin=$SECONDS
echo "| at, s | RSS MiB | |"
echo "|--:|--:|---|"
for step in $(seq 10); do
    until ((SECONDS - begin >= all * step / 10)); do sleep 0.2; done
    word=
    if [ "$step" = 3 ] || [ "$step" = 6 ]; then
        kill -9 "$redis_pid"
        wait "$redis_pid" 2>/dev/null || true
        sleep 1
        start_redis "$redis"
        redis_pid=$pid
        word="Redis killed, back a second later"
    fi
    echo "| $((SECONDS - begin)) | $(memory) | $word |"
done
wait "$loader"
cat "$work/result"
echo "the service's words about Redis:"
grep -E "Redis" "$work/ratelimit-svc.log" | tail -n +2
