#!/usr/bin/env python3
"""Makes JSON schemas for kubeconform from Kubernetes' own swagger.json, one file a kind; refuses unknown fields.

usage: kube-schemas.py SWAGGER.JSON FOLDER
"""
import json
import pathlib
import sys


class Schemas:
    def __init__(self, definitions):
        self.definitions = definitions

    def convert(self, part, above=()):
        """`part` with all it refers to put in place; a type inside itself becomes anything."""
        if "$ref" in part:
            name = part["$ref"].rsplit("/", 1)[1]
            if name in above:
                return {}
            return self.convert(self.definitions[name], above + (name,))
        if part.get("format") == "int-or-string":
            return {"type": ["string", "integer"]}
        schema = {k: part[k] for k in ("type", "enum", "required") if k in part}
        if "properties" in part:
            schema["properties"] = {k: self.convert(v, above) for k, v in part["properties"].items()}
            schema["additionalProperties"] = False
        elif "additionalProperties" in part:
            schema["additionalProperties"] = self.convert(part["additionalProperties"], above)
        if "items" in part:
            schema["items"] = self.convert(part["items"], above)
        if above and above[-1].endswith(".Quantity"):
            return {"type": ["string", "number"]}
        if isinstance(schema.get("type"), str) and "enum" not in schema:
            # A field that is null is a field that is not there.
            schema["type"] = [schema["type"], "null"]
        return schema


def main():
    definitions = json.loads(pathlib.Path(sys.argv[1]).read_text())["definitions"]
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    schemas = Schemas(definitions)
    for name, definition in definitions.items():
        # Types like DeleteOptions are of every group.
        kinds = definition.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1 or "kind" not in definition.get("properties", {}):
            continue
        group, version, kind = (kinds[0][k] for k in ("group", "version", "kind"))
        if kind.endswith("List"):
            continue
        suffix = f"-{group.split('.')[0]}-{version}" if group else f"-{version}"
        schema = schemas.convert(definition, (name,))
        (folder / f"{kind.lower()}{suffix}.json").write_text(json.dumps(schema))


main()
