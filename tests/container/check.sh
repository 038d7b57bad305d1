#!/usr/bin/env bash
# Checks Containerfile without a container engine: its rules (check.py, and hadolint if
# installed), that what it copies suffices for its build, and the health check. Where podman
# works, PODMAN=1 also builds the images and runs them.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Dependencies that clippy has checked are reused.
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tmp=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$tmp"' EXIT
passed=0
ok() { passed=$((passed + 1)); echo "ok: $1"; }

python3 tests/container/check.py "$tmp/context"
ok "rules, and sources of COPY"

if command -v hadolint >/dev/null; then
    hadolint Containerfile
    ok "hadolint"
else
    echo "skipped: hadolint is not installed"
fi

(cd "$tmp/context" && CARGO_TARGET_DIR=$target cargo check --locked -p l4sllm -p l4sllmd \
    --features l4sllm/remote,l4sllmd/remote)
ok "the copied files suffice for the build"

# A server of one file on a free port, which it prints.
mkdir "$tmp/www"
echo 'l4sllm_serve_requests_total 0' >"$tmp/www/metrics"
coproc SERVER { cd "$tmp/www" && exec python3 -u -c '
import functools, http.server
handler = http.server.SimpleHTTPRequestHandler
with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
    print(server.server_port)
    server.serve_forever()' 2>/dev/null; }
server=$SERVER_PID
read -r port <&"${SERVER[0]}"
fails() {
    if packaging/container/health 127.0.0.1 "$port" 2>/dev/null; then
        echo "the health check succeeds without a server"
        exit 1
    fi
}
packaging/container/health 127.0.0.1 "$port"
rm "$tmp/www/metrics"
fails
kill "$server"
wait "$server" 2>/dev/null || true
fails
ok "health check"

if [ -n "${PODMAN:-}" ]; then
    for stage in laboratory serve; do
        podman build --format docker --target "$stage" --tag "l4sllm-$stage:test" .
    done
    podman run --rm l4sllm-laboratory:test scenario check paper
    [ "$(podman run --rm --entrypoint id l4sllm-serve:test -u)" = 10001 ]
    ok "images build and run"
else
    echo "skipped: PODMAN=1 builds the images"
fi
echo "$passed passed, 0 failed"
