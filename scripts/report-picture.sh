#!/bin/sh
# Draws the first screen of a report, as in README, with headless Chromium:
#
#   l4sllm run variable --repetitions 3 --out out/variable \
#       --arms dualpi2,dualpi2-tuned,adaptive,context
#   scripts/report-picture.sh out/variable/report.html docs/report.png
set -eu

[ $# -eq 2 ] || {
    echo "usage: $0 REPORT.html PICTURE.png" >&2
    exit 2
}
for browser in chromium chromium-browser google-chrome; do
    command -v "$browser" >/dev/null && break
    browser=
done
[ -n "$browser" ] || {
    echo "$0: Chromium is not installed" >&2
    exit 1
}
page=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
[ -f "$page" ] || {
    echo "$0: $page: no such file" >&2
    exit 1
}
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
# As root, as in a container, Chromium has no sandbox. The setting selects
# light mode.
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars \
    --user-data-dir="$profile" --blink-settings=preferredColorScheme=1 \
    --virtual-time-budget=2000 --window-size=1240,640 \
    --screenshot="$2" "file://$page" 2>/dev/null
[ -s "$2" ] || {
    echo "$0: $browser drew nothing" >&2
    exit 1
}
