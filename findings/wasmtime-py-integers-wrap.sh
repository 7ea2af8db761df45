#!/usr/bin/env bash
# A number out of range becomes another one on its way into a component in wasmtime for Python, a whole number for a float is refused.
# Expected: the component model's explainer gives u8 the values 0 to 255 and so on; a host that checks types (a text, or 1.0 for an
# integer, is a TypeError here) reports 300 for a u8 as well, and takes 21 for an f64, as JSON has one type for both.
# Seen (wasmtime 50.0.1): 300 arrives as 44, 2^32 as 0, -1 as 18446744073709551615 and True as 1, without an error; 1e300 for an f32
# is infinity. 21 for an f64 is a TypeError.
# Why it matters: a setting from a form or a twin reaches the component as another, valid one: 300 percent is 44, "no limit" (2^32)
# is none at all. And a reading fails each time that the temperature is a whole number of degrees, since json.loads gives 21 as int.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check wasmtime==50.0.1
seen=$("$work/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version
from wasmtime import Engine, Store
from wasmtime.component import Component, Linker

print(version("wasmtime"))
CORE = {"u8": "i32", "s8": "i32", "u32": "i32", "u64": "i64", "f32": "f32", "f64": "f64"}
core = "".join('(func (export "{0}") (param {1}) (result {1}) (local.get 0))'.format(name, CORE[name]) for name in CORE)
lifted = "".join('(func (export "{0}") (param "x" {0}) (result {0}) (canon lift (core func $i "{0}")))'.format(name) for name in CORE)
engine = Engine()
store = Store(engine)
component = Component(engine, "(component (core module $m {}) (core instance $i (instantiate $m)) {})".format(core, lifted))
instance = Linker(engine).instantiate(store, component)
for name, text in [("u8", "255"), ("u8", "300"), ("u8", "300.0"), ("s8", "200"), ("u32", "4294967296"), ("u64", "-1"), ("u8", "true"), ("f32", "1e300"), ("f64", "21.5"), ("f64", "21")]:
    function = instance.get_func(store, name)
    try:
        print(name, text, "->", function(store, json.loads(text)))
        function.post_return(store)
    except TypeError as error:
        print(name, text, "-> refused:", error)
PYTHON
)
expected='50.0.1
u8 255 -> 255
u8 300 -> 44
u8 300.0 -> refused: expected int for U8 type
s8 200 -> -56
u32 4294967296 -> 0
u64 -1 -> 18446744073709551615
u8 true -> 1
f32 1e300 -> inf
f64 21.5 -> 21.5
f64 21 -> refused: expected float for F64 type'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
