#!/usr/bin/env python3
"""Reads the quick start's objects as JSON and prints them for a cluster that has the chart: the
backend is a Service, and Listener, AuthService and RateLimitService are the chart's."""
import json, sys

text = sys.stdin.read()
decoder, place, items = json.JSONDecoder(), 0, []
while place < len(text.rstrip()):
    value, end = decoder.raw_decode(text, place)
    items += value.get("items", [value])
    place = end + len(text[end:]) - len(text[end:].lstrip())
kept = [i for i in items if i["kind"] not in ("Listener", "AuthService", "RateLimitService")]
for item in kept:
    if item["kind"] == "Mapping":
        item["spec"]["service"] = "echo:80"
print(json.dumps({"apiVersion": "v1", "kind": "List", "items": kept}))
