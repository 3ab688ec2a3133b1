#!/usr/bin/env bash
# Set up on Debian 12, and run the main job: install what apt must bring, build into .venv, read a file of a drive.
set -euo pipefail
cd "$(dirname "$0")"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

need=(gcc libc6-dev libseccomp2 python3 python3-dev python3-venv)
if ! dpkg-query -W "${need[@]}" >/dev/null 2>&1; then
    echo "installing ${need[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
[ -x .venv/bin/pip ] || /usr/bin/python3 -m venv .venv
echo "building seccomp-drive into $PWD/.venv (about a minute)"
.venv/bin/pip install --quiet --disable-pip-version-check .

share=$(mktemp -d)
XDG_CACHE_HOME=$(mktemp -d)
export XDG_CACHE_HOME
trap 'rm -rf "$share" "$XDG_CACHE_HOME"' EXIT
echo "This file is on the drive." > "$share/hello.txt"
.venv/bin/seccomp-drive exec -m "/drive=file://$share" sh -c 'ls -l /drive && cat /drive/hello.txt && cp /drive/hello.txt /drive/copy.txt'
cmp "$share/hello.txt" "$share/copy.txt"
echo "seccomp-drive works; it is $PWD/.venv/bin/seccomp-drive"
