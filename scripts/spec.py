#!/usr/bin/env python3
"""Checks that SPEC.md names tests that exist: each `path::name` in it must be
a file that has a test function of that name, and each promise must name one
or say "pending"."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
problems = []
promises = held = pending = 0
seen = set()
for number, line in enumerate((root / "SPEC.md").read_text().splitlines(), 1):
    row = re.match(r"\| *(\d+\.\d+) *\|.*\|([^|]*)\|\s*$", line)
    if not row:
        continue
    promises += 1
    if row[1] in seen:
        problems.append(f"SPEC.md:{number}: {row[1]} is used twice")
    seen.add(row[1])
    tests = re.findall(r"`([^`]+)::([a-z_0-9]+)`", row[2])
    if not tests and "pending" not in row[2] and "`scripts/test.sh" not in row[2]:
        problems.append(f"SPEC.md:{number}: {row[1]} names no test and is not pending")
    held += bool(tests)
    pending += "pending" in row[2]
    for path, name in tests:
        file = root / path
        if not file.is_file():
            problems.append(f"SPEC.md:{number}: {path} does not exist")
        elif not re.search(rf"(fn {name}\(|^{name}\(void\)|\bTEST\({name}\))", file.read_text(), re.M):
            problems.append(f"SPEC.md:{number}: {path} has no test {name}")
print("\n".join(problems + [f"{promises} promises, {held} held by a named test, {pending} pending"]))
sys.exit(1 if problems else 0)
