#!/usr/bin/env python3
"""Licences and sources of all crates, held against deny.toml: what `cargo deny check licenses sources`
does, for machines without cargo-deny. Knows SPDX expressions of AND, OR and WITH."""
import json
import re
import subprocess
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def alternatives(tokens):
    """A chain of OR, up to the end or a bracket: whether one of them is allowed."""
    found = parts(tokens)
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        found = parts(tokens) or found
    return found


def parts(tokens):
    """A chain of AND: whether all of them are allowed."""
    found = term(tokens)
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        found = term(tokens) and found
    return found


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
