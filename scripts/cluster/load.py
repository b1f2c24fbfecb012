#!/usr/bin/env python3
"""Sends requests to a gateway at a steady pace until it is told to stop, and says what came back: by
turns to a route that is open and limited, and to one that wants a key. Half of the clients connect for
each request; the others keep a connection for some requests, as those who kept one for ever would all
be with the Envoy that lived longest, and feel nothing of what happens to another.

usage: load.py HOST:PORT REPORT    each line on standard input names the phase that begins; the end
of the input ends the run. REPORT is a JSON object:
  phases   phase -> answers (how many of each status or error), again (how many were asked a second
           time because an idle connection had been closed), gap_ms (longest time without a 200),
           slowest_ms
  seconds  for each second and phase: answers"""
import collections, http.client, itertools, json, queue, sys, threading, time

PACE = 0.01
WORKERS = 8
KEPT = 50
host, report = sys.argv[1], sys.argv[2]
begin = time.monotonic()
phases, seconds, phase = {}, {}, None
last_good = begin
lock = threading.Lock()
work = queue.Queue(maxsize=WORKERS)
turns = itertools.cycle([
    ("/backend/hello", {"host": "gateway.test"}),
    ("/partner/hello", {"host": "gateway.test", "x-api-key": "quickstart-partner"}),
])


def enter(name):
    global phase
    phase = phases.setdefault(name, {"answers": collections.Counter(), "again": 0, "gap_ms": 0, "slowest_ms": 0, "name": name})


def ask(connection, path, headers):
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return str(answer.status)


def reached(now):
    """The gap that lasts until now belongs to the phase of now. The lock is held."""
    phase["gap_ms"] = max(phase["gap_ms"], round((now - last_good) * 1000))


def worker(most):
    global last_good
    connection, used = None, 0
    while work.get():
        again, sent = False, time.monotonic()
        with lock:
            turn = next(turns)
        try:
            connection = connection or http.client.HTTPConnection(host, timeout=5)
            try:
                word = ask(connection, *turn)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # An idle connection that was closed: browsers and proxies ask again, too. A new one
                # that is closed without an answer is a failure.
                if not used:
                    raise
                connection.close()
                again, used, connection = True, 0, http.client.HTTPConnection(host, timeout=5)
                word = ask(connection, *turn)
            used += 1
        except Exception as error:
            if connection:
                connection.close()
            word, connection, used = type(error).__name__, None, 0
        now = time.monotonic()
        if connection and used >= most:
            connection.close()
            connection, used = None, 0
        with lock:
            phase["answers"][word] += 1
            phase["again"] += again
            phase["slowest_ms"] = max(phase["slowest_ms"], round((now - sent) * 1000))
            second = seconds.setdefault((int(now - begin), phase["name"]), collections.Counter())
            second[word] += 1
            if word == "200":
                reached(now)
                last_good = now


def pace():
    # By the clock, so that a slow answer does not thin out what follows.
    due = time.monotonic()
    while True:
        work.put(True)
        due = max(due + PACE, time.monotonic() - 1)
        time.sleep(max(0, due - time.monotonic()))


enter("start")
for number in range(WORKERS):
    threading.Thread(target=worker, args=(1 if number % 2 else KEPT,), daemon=True).start()
threading.Thread(target=pace, daemon=True).start()
for line in sys.stdin:
    with lock:
        reached(time.monotonic())
        enter(line.strip())
with lock:
    reached(time.monotonic())
    rows = {"phases": phases, "seconds": [{"second": s, "phase": p, "answers": a} for (s, p), a in seconds.items()]}
    json.dump(rows, open(report, "w"), indent=1)
