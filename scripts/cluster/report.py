#!/usr/bin/env python3
"""Prints what callers saw while parts failed, as load.py wrote it. Fails when a rolling restart was
felt, which is promised not to be. usage: report.py LOAD.json"""
import json, sys

load = json.load(open(sys.argv[1]))


def others(answers):
    return ", ".join(f"{n} × {word}" for word, n in sorted(answers.items()) if word != "200") or "none"


print(f"{'phase':22} {'requests':>8} {'200':>6}  {'others':30} {'asked again':>11} {'slowest ms':>10} {'longest gap ms':>14}")
for name, row in load["phases"].items():
    answers = row["answers"]
    print(f"{name:22} {sum(answers.values()):8} {answers.get('200', 0):6}  {others(answers):30} "
          f"{row['again']:11} {row['slowest_ms']:10} {row['gap_ms']:14}")
bad = [s for s in load["seconds"] if set(s["answers"]) - {"200"}]
print(f"\nseconds with others than 200: {len(bad)} of {len(load['seconds'])}")
for s in bad:
    print(f"  {s['second']:4} s  {s['phase']:20} {s['answers'].get('200', 0):4} × 200, {others(s['answers'])}")
felt = [name for name, row in load["phases"].items() if name.startswith("restart ") and set(row["answers"]) - {"200"}]
if felt:
    sys.exit("error: callers felt: " + ", ".join(felt))
