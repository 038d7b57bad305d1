#!/usr/bin/env python3
"""Loads what `cargo run -p l4sllm-model --features torch --example parity --
OUT` wrote with `transformers` and `peft`, and compares the hidden states of
each model: bare, with its adapter, and merged.  Exits with 1 if one differs
by more than the tolerance.  Versions: requirements.txt next to this file."""
import argparse
import pathlib
import sys
import warnings

import peft
import torch
import transformers
from safetensors.torch import load_file

from make_references import hidden


def worst(model, outputs, name):
    model.eval()
    with torch.no_grad():
        got = hidden(model, outputs["embeds"], outputs["mask"].long())
    difference = (got - outputs[name]).abs() * outputs["mask"][..., None]
    return difference.max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, help="what the example wrote")
    parser.add_argument("-t", "--tolerance", type=float, default=1e-4,
                        help="largest difference that is accepted (default: 1e-4)")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # Token embeddings, which no policy uses, are regenerated each time.
    warnings.filterwarnings("ignore")
    failed = False
    directories = sorted(d for d in arguments.directory.iterdir() if d.is_dir())
    if not directories:
        sys.exit(f"{arguments.directory}: no model")
    print(f"{'model':14} {'base':>9} {'adapter':>9} {'merged':>9} {'effect':>9}")
    for directory in directories:
        outputs = load_file(directory / "outputs.safetensors")
        base = transformers.AutoModel.from_pretrained(directory / "base")
        merged = transformers.AutoModel.from_pretrained(directory / "merged")
        errors = [worst(base, outputs, "base")]
        adapted = peft.PeftModel.from_pretrained(base, directory / "adapter")
        errors += [worst(adapted.base_model.model, outputs, "adapted"),
                   worst(merged, outputs, "adapted")]
        effect = (outputs["adapted"] - outputs["base"]).abs().max().item()
        print(f"{directory.name:14}", *(f"{e:9.1e}" for e in errors), f"{effect:9.1e}")
        failed |= max(errors) > arguments.tolerance or effect < 0.01
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
