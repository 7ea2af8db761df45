#!/usr/bin/env bash
# A WebAssembly component gets 44 where its caller in JavaScript gave 300, and 0 where it gave nothing.
# Expected: WIT has types, and a component can rely on them. A caller in a language without such types gets an error where a value does not
# fit, as it gets one for a text that is a number, an unknown case or a list [300] of u8.
# Seen (@bytecodealliance/jco 1.35.0): a u8 takes 300 as 44 and -1 as 255, null and an absent field of a record as 0, alone and in options,
# tuples and results. A key that is not in camel case, such as "is-on", is left out: the field is false; "false" is true. For
# list<u8>, a list of bytes is checked, but a text is an empty list, and a Uint16Array [300, 2] is its memory, 44 1 2 0.
# wasmtime 50.0.1 (Python) also takes 300 as 44, in options too, and refuses the rest.
# Why it matters: a limit or a time of -1 milliseconds is 49 days, a field with a typing error is 0, a key given as text is empty, and
# the component cannot tell. A caller that is tested against one host behaves otherwise in another.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check wasmtime==50.0.1
npm install --silent --no-audit --no-fund --prefix "$work" @bytecodealliance/jco@1.35.0 >/dev/null
cat >echo.wit <<'WIT'
package local:echo;

world echo {
  flags options { keep, fast-mode }
  record reading { raw: u8, is-on: bool }
  export byte: func(value: u8) -> u8;
  export milliseconds: func(value: u32) -> u32;
  export bytes: func(value: list<u8>) -> list<u8>;
  // The following give 1000 times the first member, or 1 for "some" and "err", plus the second one.
  export pair: func(value: tuple<u8, u8>) -> u32;
  export reading: func(value: reading) -> u32;
  export maybe: func(value: option<u8>) -> u32;
  export outcome: func(value: result<u8, u8>) -> u32;
  // This gives the bits.
  export options: func(value: options) -> u32;
}
WIT
cat >echo.wat <<'WAT'
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func $same (param i32) (result i32) local.get 0)
  (export "byte" (func $same)) (export "milliseconds" (func $same)) (export "options" (func $same))
  (func $sum (param i32 i32) (result i32) (i32.add (i32.mul (i32.const 1000) (local.get 0)) (local.get 1)))
  (export "pair" (func $sum)) (export "reading" (func $sum)) (export "maybe" (func $sum)) (export "outcome" (func $sum))
  (func (export "bytes") (param i32 i32) (result i32) (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) i32.const 0))
WAT
cat >make.mjs <<'JAVASCRIPT'
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { componentEmbed, componentNew, parse, transpile } from "@bytecodealliance/jco";

const core = await parse(readFileSync("echo.wat", "utf8"));
const component = await componentNew(await componentEmbed({ binary: core, witSource: readFileSync("echo.wit", "utf8") }), []);
writeFileSync("echo.wasm", component);
const { files } = await transpile(component, { name: "echo" });
for (const [name, content] of Array.isArray(files) ? files : Object.entries(files)) {
  mkdirSync(dirname(join("made", name)), { recursive: true });
  writeFileSync(join("made", name), content);
}
writeFileSync("made/package.json", '{"type": "module"}');
JAVASCRIPT
cat >call.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import * as component from "./made/echo.js";

console.log("jco", JSON.parse(readFileSync("node_modules/@bytecodealliance/jco/package.json")).version);
const told = (value) => (ArrayBuffer.isView(value) ? `${value.constructor.name} [${value}]` : value === undefined ? "nothing" : JSON.stringify(value));
const calls = [
  ["byte", 300, -1, 1.9, null, "x"],
  ["milliseconds", -1],
  ["pair", [5]],
  ["reading", { raw: 5, isOn: true }, { raw: 5, "is-on": true }, { raw: 5, isOn: "false" }, {}],
  ["maybe", 300, ""],
  ["outcome", { tag: "err" }, { tag: "Ok", val: 5 }],
  ["options", { fastMode: true }, { "fast-mode": true }, ["fastMode"]],
  ["bytes", [1, 2], [300, 2], "ab", new Uint16Array([300, 2])],
];
for (const [name, ...values] of calls) {
  for (const value of values) {
    try {
      console.log(name, told(value), "->", told(component[name](value)));
    } catch (error) {
      console.log(name, told(value), "-> refused");
    }
  }
}
JAVASCRIPT
cat >call.py <<'PYTHON'
from importlib.metadata import version
from types import SimpleNamespace

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker

print("wasmtime", version("wasmtime"))
engine = Engine()
component = Component.from_file(engine, "echo.wasm")
calls = {"byte": [300, -1, 1.9, None], "milliseconds": [-1], "pair": [(5,)], "reading": [SimpleNamespace(raw=5)], "maybe": [300], "options": [{"fast_mode"}], "bytes": [[300, 2], "ab"]}
for name, values in calls.items():
    for value in values:
        store, text = Store(engine), str(value).replace("'", '"')
        instance = Linker(engine).instantiate(store, component)
        try:
            print(name, text, "->", instance.get_func(store, name)(store, value))
        except Exception as error:
            print(name, text, "-> refused")
PYTHON
node make.mjs
seen=$(node call.mjs; venv/bin/python call.py)
expected='jco 1.35.0
byte 300 -> 44
byte -1 -> 255
byte 1.9 -> 1
byte null -> 0
byte "x" -> 0
milliseconds -1 -> 4294967295
pair [5] -> 5000
reading {"raw":5,"isOn":true} -> 5001
reading {"raw":5,"is-on":true} -> 5000
reading {"raw":5,"isOn":"false"} -> 5001
reading {} -> 0
maybe 300 -> 1044
maybe "" -> 1000
outcome {"tag":"err"} -> 1000
outcome {"tag":"Ok","val":5} -> refused
options {"fastMode":true} -> 2
options {"fast-mode":true} -> 0
options ["fastMode"] -> 0
bytes [1,2] -> Uint8Array [1,2]
bytes [300,2] -> refused
bytes "ab" -> Uint8Array []
bytes Uint16Array [300,2] -> Uint8Array [44,1,2,0]
wasmtime 50.0.1
byte 300 -> 44
byte -1 -> 255
byte 1.9 -> refused
byte None -> refused
milliseconds -1 -> 4294967295
pair (5,) -> refused
reading namespace(raw=5) -> refused
maybe 300 -> 1044
options {"fast_mode"} -> refused
bytes [300, 2] -> refused
bytes ab -> refused'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
