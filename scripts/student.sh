#!/usr/bin/env bash
# Distils policies/context into a student for the kernel, and compares both on
# the test part of the suite, with two repetitions.  About ten minutes on two cores.
# The student is $OUT/student/student.l4s; policies/context/student.l4s was made by
# this script, and the same program makes the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-out}/student
l4sllm() { "${L4SLLM:-${CARGO_TARGET_DIR:-target}/release/l4sllm}" "$@"; }

l4sllm policy distil --from context --to kernel --out "$out"
l4sllm suite --policy context --student "$out/student.l4s" --repetitions 2 \
    --out "$out/suite"
