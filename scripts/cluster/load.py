#!/usr/bin/env python3
"""Sends requests to a gateway at a steady pace until it is told to stop, and says what came back:
by turns to a route that is open and to one that wants a key.

usage: load.py HOST:PORT REPORT    each line on standard input names the phase that begins; the end
of the input ends the run. REPORT is a JSON object: phase -> counts of statuses, longest gap in ms."""
import collections, http.client, itertools, json, queue, sys, threading, time

PACE = 0.01
WORKERS = 4
host, report = sys.argv[1], sys.argv[2]
phase = ["start"]
counts = collections.defaultdict(collections.Counter)
retried = collections.Counter()
gaps = collections.defaultdict(float)
last_good = [time.monotonic()]
lock = threading.Lock()
work = queue.Queue(maxsize=WORKERS)


turns = itertools.cycle([
    ("/backend/hello", {"host": "gateway.test"}),
    ("/partner/hello", {"host": "gateway.test", "x-api-key": "quickstart-partner"}),
])


def ask(connection, path, headers):
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return str(answer.status)


def worker():
    connection = None
    while work.get():
        with lock:
            turn = next(turns)
        again = 0
        try:
            connection = connection or http.client.HTTPConnection(host, timeout=5)
            word = ask(connection, *turn)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            # A kept connection whose other end went away; browsers and proxies ask again, too.
            connection, again = http.client.HTTPConnection(host, timeout=5), 1
            try:
                word = ask(connection, *turn)
            except Exception as error:
                word, connection = type(error).__name__, None
        except Exception as error:
            word, connection = type(error).__name__, None
        now = time.monotonic()
        with lock:
            counts[phase[0]][word] += 1
            retried[phase[0]] += again
            if word == "200":
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
    rows = {name: {"answers": dict(c), "retried": retried[name], "gap_ms": round(gaps[name] * 1000)} for name, c in counts.items()}
json.dump(rows, open(report, "w"), indent=1)
