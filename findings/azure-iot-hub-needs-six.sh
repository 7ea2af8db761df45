#!/usr/bin/env bash
# Microsoft's IoT Hub service client for Python does not import after its own installation.
# Expected: `pip install azure-iot-hub` brings what the package imports.
# Seen: `import azure.iot.hub` ends with "No module named 'six'": the package imports six and does not declare it. It used to
# come with azure-core, which dropped it. With six installed by hand it imports.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check azure-iot-hub==2.7.0 azure-core==1.41.0
try() { "$work/venv/bin/python" -c 'import azure.iot.hub; print("imported")' 2>&1 | tail -n 1; }
seen=$(
    "$work/venv/bin/python" -c 'import importlib.metadata as m; print([r for r in m.requires("azure-iot-hub") if r.startswith("six")])'
    try
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check six==1.17.0
    try
)
expected="[]
ModuleNotFoundError: No module named 'six'
imported"
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
