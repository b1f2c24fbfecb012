#!/usr/bin/env python3
"""Licences and sources of all crates, held against deny.toml: what `cargo deny check licenses sources`
does, for machines without cargo-deny. Knows SPDX expressions of AND, OR and WITH."""
import json
import re
import subprocess
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def chain(tokens, word, item, join):
    """Items with `word` between them, up to the end, another word or a bracket."""
    found = [item(tokens)]
    while tokens[:1] == [word]:
        tokens.pop(0)
        found.append(item(tokens))
    return join(found)


def alternatives(tokens):
    return chain(tokens, "OR", lambda rest: chain(rest, "AND", term, all), any)


def term(tokens):
    name = tokens.pop(0)
    if name == "(":
        found = alternatives(tokens)
        tokens.pop(0)
        return found
    if tokens[:1] == ["WITH"]:
        name = f"{name} WITH {tokens[1]}"
        del tokens[:2]
    return name in ALLOWED


def is_allowed(expression):
    # Older crates write `MIT/Apache-2.0`.
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    return alternatives(tokens)


with open("deny.toml", "rb") as file:
    ALLOWED = set(tomllib.load(file)["licenses"]["allow"])
metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"], check=True, stdout=subprocess.PIPE
    ).stdout
)
used = {node["id"] for node in metadata["resolve"]["nodes"]}
wrong = []
for package in metadata["packages"]:
    if package["source"] is None or package["id"] not in used:
        continue
    name = f"{package['name']} {package['version']}"
    if package["source"] != CRATES_IO:
        wrong.append(f"{name} comes from {package['source']}")
    if not package["license"] or not is_allowed(package["license"]):
        wrong.append(f"{name} has the licence {package['license']}, which deny.toml does not allow")
for line in wrong:
    print(f"error: {line}", file=sys.stderr)
sys.exit(bool(wrong))
