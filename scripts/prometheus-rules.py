#!/usr/bin/env python3
"""What promtool is to judge, from the chart.

  prometheus-rules.py RENDER DASHBOARDS OUT   writes OUT/rules.yaml, the alerts of a rendered chart, and
                                              OUT/queries.yaml, each query of the dashboards as a rule
  prometheus-rules.py tested RENDER TESTS     fails when an alert has no test that fires it
"""
import glob
import json
import os
import sys

import yaml

# What Grafana puts in.
VARIABLES = {"$__rate_interval": "5m", "$namespace": "edge"}


def groups(render):
    with open(render) as file:
        documents = [d for d in yaml.safe_load_all(file) if d]
    found = [g for d in documents if d["kind"] == "PrometheusRule" for g in d["spec"]["groups"]]
    if not found:
        sys.exit(f"error: no PrometheusRule in {render}")
    return found


def queries(folder):
    rules = []
    for path in sorted(glob.glob(f"{folder}/*.json")):
        with open(path) as file:
            dashboard = json.load(file)
        name = os.path.splitext(os.path.basename(path))[0]
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for variable, value in VARIABLES.items():
                    expr = expr.replace(variable, value)
                rules.append({"record": f"{name}:panel{panel['id']}:query{len(rules)}", "expr": expr})
    if not rules:
        sys.exit(f"error: no query in {folder}")
    return [{"name": "queries", "rules": rules}]


def write(path, groups):
    with open(path, "w") as file:
        yaml.safe_dump({"groups": groups}, file, sort_keys=False)


def tested(render, tests):
    alerts = {r["alert"] for g in groups(render) for r in g["rules"] if "alert" in r}
    with open(tests) as file:
        document = yaml.safe_load(file)
    cases = [c for t in document["tests"] for c in t["alert_rule_test"]]
    fired = {c["alertname"] for c in cases if c.get("exp_alerts")}
    silent = {c["alertname"] for c in cases if not c.get("exp_alerts")}
    for alert in sorted(alerts - (fired & silent)):
        print(f"error: {tests} does not show when {alert} fires and when not")
    sys.exit(bool(alerts - (fired & silent)))


if sys.argv[1] == "tested":
    tested(sys.argv[2], sys.argv[3])
else:
    render, dashboards, out = sys.argv[1:]
    write(f"{out}/rules.yaml", groups(render))
    write(f"{out}/queries.yaml", queries(dashboards))
