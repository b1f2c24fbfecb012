#!/usr/bin/env python3
"""Sends requests to a gateway at a steady pace until it is told to stop, and says what came back.

usage: load.py HOST:PORT REPORT    each line on standard input names the phase that begins; the end
of the input ends the run. REPORT is a JSON object: phase -> counts of statuses, longest gap in ms."""
import collections, http.client, json, queue, sys, threading, time

PACE = 0.01
WORKERS = 4
host, report = sys.argv[1], sys.argv[2]
phase = ["start"]
counts = collections.defaultdict(collections.Counter)
gaps = collections.defaultdict(float)
last_good = [time.monotonic()]
lock = threading.Lock()
work = queue.Queue(maxsize=WORKERS)


def ask(connection):
    connection.request("GET", "/backend/hello", headers={"host": "gateway.test"})
    answer = connection.getresponse()
    answer.read()
    return str(answer.status)


def worker():
    connection = None
    while work.get():
        try:
            connection = connection or http.client.HTTPConnection(host, timeout=5)
            word = ask(connection)
        except http.client.RemoteDisconnected:
            # An idle connection that was closed in order; browsers and proxies ask again, too.
            connection = http.client.HTTPConnection(host, timeout=5)
            try:
                word = ask(connection)
            except Exception as error:
                word, connection = type(error).__name__, None
        except Exception as error:
            word, connection = type(error).__name__, None
        now = time.monotonic()
        with lock:
            counts[phase[0]][word] += 1
            if word in ("200", "429"):
                gaps[phase[0]] = max(gaps[phase[0]], now - last_good[0])
                last_good[0] = now


def pace():
    while True:
        work.put(True)
        time.sleep(PACE)


for _ in range(WORKERS):
    threading.Thread(target=worker, daemon=True).start()
threading.Thread(target=pace, daemon=True).start()
for line in sys.stdin:
    with lock:
        phase[0] = line.strip()
with lock:
    rows = {name: {"answers": dict(c), "gap_ms": round(gaps[name] * 1000)} for name, c in counts.items()}
json.dump(rows, open(report, "w"), indent=1)
