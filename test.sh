#!/usr/bin/env bash
# Set up, install what the tests need besides, and run all checks: format, lint, types, tests.
set -euo pipefail
cd "$(dirname "$0")"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

need=(attr busybox-static gcc-multilib git golang-go make nano perl postgresql procps rsync sqlite3 strace util-linux vim-tiny)
if ! dpkg-query -W "${need[@]}" >/dev/null 2>&1; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
./setup.sh
.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
.venv/bin/python -m pytest -q -n 2 --dist loadfile "$@"
