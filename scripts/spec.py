#!/usr/bin/env python3
"""Checks SPEC.md: every `path::name` is a file that has a test of that name,
and every promise names a test or a check, or is pending."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
problems = []
held = pending = 0
seen = {}

# A promise is a list item "- **N.M** text"; its text ends at the next item,
# heading or blank line.
text = (root / "SPEC.md").read_text()
promises = list(re.finditer(r"^- \*\*(\d+\.\d+)\*\*(.*?)(?=^- |^#|^$|\Z)", text, re.M | re.S))
for promise in promises:
    number, body = promise[1], promise[2]
    line = text.count("\n", 0, promise.start()) + 1
    if number in seen:
        problems.append(f"SPEC.md:{line}: {number} is also on line {seen[number]}")
    seen[number] = line
    tests = re.findall(r"`([^`]+)::([a-z_0-9]+)`", body)
    is_pending = "*Pending*" in body
    if not tests and not is_pending and "`scripts/test.sh" not in body:
        problems.append(f"SPEC.md:{line}: {number} names no test and is not pending")
    held += bool(tests)
    pending += is_pending
    for path, name in tests:
        file = root / path
        if not file.is_file():
            problems.append(f"SPEC.md:{line}: {path} does not exist")
        elif not re.search(rf"(fn {name}\(|^{name}\(void\)|\bTEST\({name}\)|^def {name}\()", file.read_text(), re.M):
            problems.append(f"SPEC.md:{line}: {path} has no test {name}")

if not promises:
    problems.append("SPEC.md: no promise found (expected lines that begin with '- **N.M**')")
print("\n".join(problems + [f"{len(promises)} promises, {held} checked by a named test, {pending} pending"]))
sys.exit(1 if problems else 0)
