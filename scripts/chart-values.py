#!/usr/bin/env python3
"""Makes values.schema.json and the values table of README.md of each chart from its values.yaml, the one source.

usage: chart-values.py check|update CHART...

In values.yaml `# -- text` above a key is its description. `# @schema X` says its type where the
default does not: the name of a definition below (a trailing ? also allows null), or JSON.
"""
import json
import pathlib
import re
import sys

import yaml

RAW = "As Kubernetes has it; not looked into here."
DEFINITIONS = {
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "strings": {"type": "array", "items": {"type": "string"}},
    "raw": {"type": "object", "description": RAW},
    "raws": {"type": "array", "items": {"type": "object"}, "description": RAW},
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "count": {"type": "integer", "minimum": 0},
    "count-or-percent": {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]},
    "pull-policy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "duration": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
    "service-type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "ports": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "port", "targetPort"],
            "properties": {
                "name": {"type": "string", "maxLength": 15},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                "targetPort": {"type": "integer", "minimum": 1024, "maximum": 65535},
                "nodePort": {"type": "integer"},
                "protocol": {"enum": ["TCP", "UDP"]},
                "appProtocol": {"type": "string"},
                "hostPort": {"type": "integer"},
            },
        },
    },
}
KEY = re.compile(r"^( *)([A-Za-z][\w.-]*):(.*)$")


def read_hints(text):
    """{path: (description, schema hint)} of each key of a values.yaml."""
    hints, parents, words, hint, list_at = {}, [], [], None, None
    for line in text.splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if not stripped:
            words, hint = [], None
            continue
        if stripped.startswith("#"):
            body = stripped[1:].strip()
            if body.startswith("-- "):
                words = [body[3:]]
            elif body.startswith("@schema "):
                hint = body[8:]
            elif words and hint is None:
                words.append(body)
            continue
        if stripped.startswith("- "):
            list_at = indent if list_at is None else min(list_at, indent)
            continue
        if list_at is not None and indent > list_at:
            continue
        list_at = None
        found = KEY.match(line)
        if not found:
            continue
        while parents and parents[-1][0] >= indent:
            parents.pop()
        path = tuple(p[1] for p in parents) + (found[2],)
        hints[path] = (" ".join(words), hint)
        parents.append((indent, found[2]))
        words, hint = [], None
    return hints


def of_hint(hint, used):
    if hint.startswith("{"):
        schema = json.loads(hint)
        for name in re.findall(r'#/definitions/([\w-]+)', hint):
            used.add(name)
        return schema
    nullable, name = hint.endswith("?"), hint.rstrip("?")
    if name not in DEFINITIONS:
        sys.exit(f"error: no definition {name!r}; write one of {', '.join(DEFINITIONS)}, or JSON")
    used.add(name)
    reference = {"$ref": f"#/definitions/{name}"}
    return {"oneOf": [reference, {"type": "null"}]} if nullable else reference


def schema_of(path, value, hints, used):
    words, hint = hints.get(path, ("", None))
    if hint:
        schema = of_hint(hint, used)
        # Beside $ref nothing counts in draft-07.
        return {"description": words, **({"allOf": [schema]} if "$ref" in schema else schema)} if words else schema
    if isinstance(value, dict) and value:
        schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {k: schema_of(path + (k,), v, hints, used) for k, v in value.items()},
        }
    elif isinstance(value, bool):
        schema = {"type": "boolean"}
    elif isinstance(value, int):
        schema = {"type": "integer"}
    elif isinstance(value, str):
        schema = {"type": "string"}
    else:
        sys.exit(f"error: {'.'.join(path)}: the default {value!r} tells no type; add `# @schema`")
    return {"description": words, **schema} if words else schema


def open_objects(schema, path=""):
    """Objects that take any key and are not said to."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "additionalProperties" not in schema and schema.get("description") != RAW:
            if not path.endswith("/items"):
                yield path
        for key, part in schema.items():
            yield from open_objects(part, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from open_objects(part, f"{path}/{index}")


def rows(path, value, hints):
    words, hint = hints.get(path, ("", None))
    if isinstance(value, dict) and value and not hint:
        for key, part in value.items():
            yield from rows(path + (key,), part, hints)
        return
    yield ".".join(path), json.dumps(value), words


def make(chart):
    text = (chart / "values.yaml").read_text()
    values, hints, used = yaml.safe_load(text), read_hints(text), set()
    body = schema_of((), values, hints, used)
    # Helm hands these to a chart that is a dependency of another.
    body["properties"].setdefault("global", {"type": "object"})
    body["properties"]["global"].pop("additionalProperties", None)
    body["properties"]["global"].setdefault("description", "Shared with other charts, so other keys may stand here.")
    body["properties"]["global"]["additionalProperties"] = True
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of the chart {chart.name}",
        **body,
        "definitions": {k: DEFINITIONS[k] for k in sorted(used)},
    }
    loose = list(open_objects(schema))
    if loose:
        sys.exit(f"error: {chart.name}: objects that take any key: {', '.join(loose)}")
    bare = [".".join(p) for p, _, w in ((r[0].split("."), r[1], r[2]) for r in rows((), values, hints)) if not w]
    if bare:
        sys.exit(f"error: {chart.name}: values without a description: {', '.join(bare)}")
    table = ["| value | default | what it is |", "|---|---|---|"]
    for name, default, words in rows((), values, hints):
        words = words.replace("|", "\\|")
        table.append(f"| `{name}` | `{default}` | {words} |".replace("`null`", ""))
    readme = (chart / "README.md").read_text()
    start, end = "<!-- values -->\n", "<!-- end of values -->"
    if start not in readme or end not in readme:
        sys.exit(f"error: {chart}/README.md has no place for the values; write {start.strip()} and {end}")
    before, rest = readme.split(start, 1)
    after = rest.split(end, 1)[1]
    return {
        chart / "values.schema.json": json.dumps(schema, indent=2) + "\n",
        chart / "README.md": before + start + "\n".join(table) + "\n" + end + after,
    }


def main():
    command, charts = sys.argv[1], [pathlib.Path(p) for p in sys.argv[2:]]
    stale = []
    for chart in charts:
        for path, text in make(chart).items():
            if command == "update":
                path.write_text(text)
            elif not path.exists() or path.read_text() != text:
                stale.append(str(path))
    if stale:
        sys.exit(f"error: not in step with values.yaml: {', '.join(stale)}; run scripts/test-charts.sh --update")


main()
