#!/bin/bash
# ratelimit-svc on Redis at a steady rate for a long time, with Redis killed and restarted twice: what
# callers saw, and that memory stays. Says nothing about good or bad; fails only when nothing was
# answered at the end. Usage: [SECONDS_ALL=600] [RATE=N: half of the top when not set] [BIN=FOLDER] scripts/soak.sh
set -euo pipefail
cd "$(dirname "$0")/.."
all=${SECONDS_ALL:-600}
bin=${BIN:-target/release}
work=$(mktemp -d)
started=()
finish() {
    # Each by its own id: other programs of the same name are not ours.
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
if [ -z "${BIN:-}" ]; then cargo build -q --release -p ratelimit-svc -p bench --bins; fi

read -r redis grpc admin <<<"$(python3 - <<'PYTHON'
import random, socket
free = []
for port in random.sample(range(20_000, 32_000), 100):
    try:
        with socket.socket() as s: s.bind(("127.0.0.1", port))
        free.append(port)
    except OSError: continue
print(*free[:3])
PYTHON
)"
start_redis() {
    redis-server --port "$redis" --bind 127.0.0.1 --save "" --appendonly no --dir "$work" >/dev/null &
    redis_pid=$!
    started+=("$redis_pid")
    until (exec 3<>"/dev/tcp/127.0.0.1/$redis") 2>/dev/null; do sleep 0.05; done
}
memory() { awk '/VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$service/status"; }

cat >"$work/soak.yaml" <<'YAML'
domain: bench
descriptors:
- key: k
  rate_limit: {unit: minute, requests_per_unit: 4000000000}
YAML
start_redis
"$bin/ratelimit-svc" --config "$work/soak.yaml" --http-addr off --grpc-addr "127.0.0.1:$grpc" \
    --admin-addr "127.0.0.1:$admin" --redis-url "redis://127.0.0.1:$redis" >"$work/log" 2>&1 &
service=$!
started+=("$service")
until (exec 3<>"/dev/tcp/127.0.0.1/$grpc") 2>/dev/null; do sleep 0.05; done
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
        start_redis
        word="Redis killed, back a second later"
    fi
    echo "| $((SECONDS - begin)) | $(memory) | $word |"
done
wait "$loader"
cat "$work/result"
echo "the service's words about Redis:"
grep -E "Redis" "$work/log" | tail -n +2
