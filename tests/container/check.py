#!/usr/bin/env python3
"""Checks the rules of Containerfile and makes its build context.

usage: check.py DIR   DIR: where to put the files that the stage `build` copies
"""
import json
import pathlib
import re
import shutil
import sys
import tomllib

root = pathlib.Path(__file__).resolve().parents[2]
text = (root / "Containerfile").read_text()
problems = []


def instructions():
    """Yields the words of each instruction; comments are dropped, lines are joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        yield re.split(r"\s+", line.strip(), maxsplit=1)


stages, stage = {}, None
for name, rest in instructions():
    if name == "FROM":
        image, stage = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
        stages[stage] = {"image": image, "COPY": []}
    elif name == "COPY":
        stages[stage]["COPY"].append(rest.split())
    else:
        stages[stage].setdefault(name, []).append(rest)

for name, stage in stages.items():
    image = stage["image"]
    if image not in stages and not re.search(r"/[a-z]+:\d+\.\d+(\.\d+)?-[a-z-]+$", image):
        problems.append(f"{name}: {image} is not pinned by version")

# Every source exists; the context has every file of them.
context = pathlib.Path(sys.argv[1])
allowed = (root / ".containerignore").read_text().splitlines()
for name, stage in stages.items():
    for words in stage["COPY"]:
        options = [word for word in words if word.startswith("--")]
        if options:
            if options[0].removeprefix("--from=") not in stages:
                problems.append(f"{name}: COPY {options[0]}: no such stage")
            continue
        for source in words[:-1]:
            path = root / source
            if not path.exists():
                problems.append(f"{name}: COPY {source}: no such file")
                continue
            if f"!{source.split('/')[0]}" not in allowed:
                problems.append(f".containerignore excludes {source}")
            if name != "build":
                continue
            if path.is_dir():
                ignore = shutil.ignore_patterns("target", "__pycache__")
                shutil.copytree(path, context / source, symlinks=True, ignore=ignore)
            else:
                context.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, context / source)

# Every member of the workspace is in the context.
members = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["members"]
problems += [f"build: {name} is not copied" for name in members if not (context / name).exists()]

channel = tomllib.loads((root / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
if f"rust:{channel}-" not in stages["build"]["image"]:
    problems.append(f"build: {stages['build']['image']} is not of Rust {channel}")

for name in ("laboratory", "serve"):
    users = stages[name].get("USER", [])
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        problems.append(f"{name}: the last USER is not a numeric user other than root")
    for entry in stages[name].get("ENTRYPOINT", ["[]"]):
        if not json.loads(entry):
            problems.append(f"{name}: no ENTRYPOINT")
if "HEALTHCHECK" not in stages["serve"]:
    problems.append("serve: no HEALTHCHECK")

print("\n".join(problems + [f"{len(stages)} stages, {len(problems)} problems"]))
sys.exit(1 if problems else 0)
