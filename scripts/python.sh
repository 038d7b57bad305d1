#!/usr/bin/env bash
# Builds the Python package and tests it in a virtual environment below target/python.
#   scripts/python.sh           tests; PYTHON_SB3=1 also those of the example, which install
#                               PyTorch and Stable-Baselines3 (several GB)
#   scripts/python.sh wheel     an optimised wheel in target/python/wheels
#   scripts/python.sh bench     steps per second of the environment and of the Rust loop
# Exit status 77, with the reason as last line, if pip cannot install what is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-test}
case $mode in test | wheel | bench) ;; *)
    echo "usage: $0 [test | wheel | bench]" >&2
    exit 2 ;;
esac
root=$(realpath -m "${CARGO_TARGET_DIR:-target}")/python
python=$root/venv/bin/python

skip() {
    echo "$1"
    exit 77
}

python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || skip "no Python 3.9 or later"
mkdir -p "$root"
if [ ! -x "$python" ]; then
    python3 -m venv "$root/venv" || { rm -rf "$root/venv"; skip "python3 has no venv (Debian: python3-venv)"; }
fi
packages=("maturin>=1.9,<2" "gymnasium>=1.1" "numpy>=1.23" "pyarrow>=14" "pytest>=7")
[ -z "${PYTHON_SB3:-}" ] || packages+=("stable-baselines3>=2.4" "torch>=2.3")
"$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" ||
    skip "pip could not install ${packages[*]}"

profile=release
[ "$mode" != test ] || profile=dev
rm -rf "$root/wheels"
(cd python && "$root/venv/bin/maturin" build --locked --profile "$profile" --out "$root/wheels" --interpreter python3)
[ "$mode" != wheel ] || exit 0
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$root"/wheels/*.whl

if [ "$mode" = bench ]; then
    "$python" python/bench.py
    exit
fi
"$python" -m pytest -q -rs -p no:cacheprovider python/tests | tee "$root/pytest.log"
"$python" -c 'import torch, stable_baselines3' 2>/dev/null ||
    echo "skipped: tests with PyTorch and Stable-Baselines3 (PYTHON_SB3=1 installs both)"
echo "$(sed -nE 's/^([0-9]+) passed.*/\1/p' "$root/pytest.log") passed, 0 failed"
