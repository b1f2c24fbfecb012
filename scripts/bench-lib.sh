# What bench.sh and soak.sh share; they source it. Leaves a folder in $work, which goes with the script,
# as does all that `start` started.
# shellcheck shell=bash

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

say() { echo "$@" >&2; }

# Below the ports that the system gives to clients, so that no connection takes one before its server.
free_ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys
free = []
for port in random.sample(range(20_000, 32_000), 12_000):
    try:
        with socket.socket() as s: s.bind(("127.0.0.1", port))
        free.append(port)
    except OSError:
        continue
    if len(free) == int(sys.argv[1]): break
print(*free)
PYTHON
}

# start NAME COMMAND…: leaves its process id in $pid; its output goes to a log shown when it fails.
start() {
    local name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 &
    pid=$!
    started+=("$pid")
}

# wait_port NAME PORT: until it accepts connections; the process is $pid.
wait_port() {
    for _ in $(seq 300); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then return; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    say "error: $1 does not accept connections; its log:"
    tail -n 20 "$work/$1.log" >&2
    exit 1
}

# start_redis PORT: a redis-server without files; its process is $pid.
start_redis() {
    start "redis-$1" redis-server --port "$1" --bind 127.0.0.1 --save "" --appendonly no --dir "$work"
    wait_port "redis-$1" "$1"
}
