#!/usr/bin/env python3
"""Prints what callers saw while parts failed. usage: report.py LOAD.json"""
import json, sys

rows = json.load(open(sys.argv[1]))
print(f"{'phase':22} {'requests':>8} {'200':>7} {'others':28} {'asked again':>12} {'longest gap ms':>15}")
for phase, row in rows.items():
    answers = row["answers"]
    others = ", ".join(f"{n} × {word}" for word, n in sorted(answers.items()) if word != "200") or "none"
    print(f"{phase:22} {sum(answers.values()):8} {answers.get('200', 0):7} {others:28} {row['retried']:12} {row['gap_ms']:15}")
