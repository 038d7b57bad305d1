#!/usr/bin/env bash
# Compares options of `l4sllm reproduce` by cross-validation over five blocks of
# time within the four fifths of the pool used for training.  The last fifth is
# not used.  Runs five trainings of about ten seconds per seed and line, on one
# core.  Needs .libtorch (scripts/libtorch.sh) and
#   cargo build --release -p l4sllm --features torch
#   scripts/choose-reproduce.sh POOL [SEEDS]    results go to out/choose
set -euo pipefail
cd "$(dirname "$0")/.."
pool=${1:?POOL: the published pool, as CSV, Parquet or JSON}
seeds=${2:-2}
l4sllm() { "${CARGO_TARGET_DIR:-target}/release/l4sllm" "$@"; }

number=0
while read -r options; do
    number=$((number + 1))
    printf '\n%s\n' "$options"
    # shellcheck disable=SC2086  # options are words
    l4sllm reproduce "$pool" --out "out/choose/$number" --validate 5 --seeds "$seeds" \
        -- $options | grep -E '^(seed| +[0-9]|accuracy|macro)'
done <<'OPTIONS'
--bins 16 --return-dropout 0
--bins 16 --return-dropout 1
--bins 16 --return-dropout 1 --ema-decay 0.99
--bins 16 --return-dropout 1 --ema-decay 0.99 --label-smoothing 0.02
--bins 8 --return-dropout 1 --ema-decay 0.99
--bins 48 --return-dropout 1
--bins 16 --return-dropout 1 --noise 0.1
OPTIONS
