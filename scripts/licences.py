#!/usr/bin/env python3
"""Checks every dependency's licence against deny.toml, as `cargo deny check
licenses' would: an expression passes when one alternative of each of its terms
is allowed, for everybody or by an exception for that crate."""
import json
import pathlib
import re
import subprocess
import sys

try:
    import tomllib
except ModuleNotFoundError:
    print("python3 is older than 3.11")
    sys.exit(77)

root = pathlib.Path(__file__).resolve().parent.parent
config = tomllib.loads((root / "deny.toml").read_text())["licenses"]
exceptions = {e["crate"]: set(e["allow"]) for e in config["exceptions"]}
everybody = set(config["allow"])


def passes(expression, allowed):
    """Evaluates an SPDX expression of AND, OR, WITH and parentheses."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def any_of():
        value = all_of()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            right = all_of()
            value = value or right
        return value

    def all_of():
        value = term()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            right = term()
            value = value and right
        return value

    def term():
        token = tokens.pop(0)
        if token == "(":
            value = any_of()
            tokens.pop(0)
            return value
        if tokens[:1] == ["WITH"]:
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    return any_of()


metadata = json.loads(
    subprocess.check_output(
        ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"],
        cwd=root,
    )
)
bad = 0
for package in metadata["packages"]:
    licence = package["license"]
    allowed = everybody | exceptions.get(package["name"], set())
    if not licence or not passes(licence, allowed):
        bad += 1
        print(f"{package['name']} {package['version']}: licence {licence!r} is not allowed by deny.toml")
unused = set(exceptions) - {p["name"] for p in metadata["packages"]}
for name in sorted(unused):
    bad += 1
    print(f"deny.toml: exception for {name}, which is not a dependency")
print(f"{len(metadata['packages'])} packages, {bad} problems")
sys.exit(1 if bad else 0)
