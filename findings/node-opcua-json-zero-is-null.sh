#!/usr/bin/env bash
# 0 degrees and a closed door become null when node-opcua-json reads what it has written itself.
# Expected: OPC 10000-6, 5.4: the compact encoding leaves out a field that has its type's default; a reader puts the default back. NaN
# and the infinities are the texts "NaN", "Infinity" and "-Infinity". The package's own page says that decoding is not affected by
# what compact leaves out.
# Seen (node-opcua-json 2.182.2; 2.186.4 as well): a DataValue with 0, 0.0, false or "" is read as one with null, in the compact and in
# the verbose encoding, where the value is written out. A compact variant is null for 0.0 and "", and an error for false and
# whole numbers. NaN and infinities leave as null, not as texts, and NaN in a list comes back as 0. 64-bit integers are right.
# Why it matters: PubSub over MQTT sends these. Each counter at its start, each switch that is off and each reading of exactly 0 is
# "no value", and a failed sensor in a list of readings is a 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" node-opcua-json@2.182.2 node-opcua-variant@2.182.0 node-opcua-data-value@2.182.0 >/dev/null
cat >again.js <<'JAVASCRIPT'
const json = require("node-opcua-json");
const { Variant, DataType, VariantArrayType } = require("node-opcua-variant");
const { DataValue } = require("node-opcua-data-value");
console.log(require("node-opcua-json/package.json").version);
const names = ["http://opcfoundation.org/UA/"];
const builder = { getExtensionObjectConstructor() { throw new Error("there are no structures here"); } };
const told = (read) => { try { const { value } = read(); return String(value instanceof Variant ? value.value : value); } catch (error) { return "refused"; } };
for (const [type, value] of [["Double", 1], ["Double", 0], ["Boolean", true], ["Boolean", false], ["Int32", 0], ["String", ""], ["Double", NaN], ["Double", -Infinity]]) {
  for (const scheme of ["Compact", "Verbose"]) {
    const mode = json.JsonEncodingScheme[scheme];
    const variant = new Variant({ dataType: DataType[type], arrayType: VariantArrayType.Scalar, value });
    const one = JSON.stringify(json.opcuaJsonEncodeVariant(variant, mode, names));
    const two = JSON.stringify(json.opcuaJsonEncodeDataValue(new DataValue({ value: variant }), mode, names));
    console.log(type, JSON.stringify(String(value)), scheme, one, "->", told(() => json.opcuaJsonDecodeVariant(JSON.parse(one), builder, names)),
      "| in a DataValue", two, "->", told(() => json.opcuaJsonDecodeDataValue(JSON.parse(two), builder, names)));
  }
}
const list = new Variant({ dataType: DataType.Double, arrayType: VariantArrayType.Array, value: new Float64Array([21.5, NaN]) });
const text = JSON.stringify(json.opcuaJsonEncodeVariant(list, json.JsonEncodingScheme.Verbose, names));
console.log("21.5 and NaN:", text, "->", told(() => json.opcuaJsonDecodeVariant(JSON.parse(text), builder, names)));
JAVASCRIPT
seen=$(node again.js)
expected='2.182.2
Double "1" Compact {"UaType":11,"Value":1} -> 1 | in a DataValue {"UaType":11,"Value":1} -> 1
Double "1" Verbose {"UaType":11,"Value":1} -> 1 | in a DataValue {"UaType":11,"Value":1} -> 1
Double "0" Compact {"UaType":11} -> null | in a DataValue {"UaType":11} -> null
Double "0" Verbose {"UaType":11,"Value":0} -> 0 | in a DataValue {"UaType":11,"Value":0} -> null
Boolean "true" Compact {"UaType":1,"Value":true} -> true | in a DataValue {"UaType":1,"Value":true} -> true
Boolean "true" Verbose {"UaType":1,"Value":true} -> true | in a DataValue {"UaType":1,"Value":true} -> true
Boolean "false" Compact {"UaType":1} -> refused | in a DataValue {"UaType":1} -> null
Boolean "false" Verbose {"UaType":1,"Value":false} -> false | in a DataValue {"UaType":1,"Value":false} -> null
Int32 "0" Compact {"UaType":6} -> refused | in a DataValue {"UaType":6} -> null
Int32 "0" Verbose {"UaType":6,"Value":0} -> 0 | in a DataValue {"UaType":6,"Value":0} -> null
String "" Compact {"UaType":12} -> null | in a DataValue {"UaType":12} -> null
String "" Verbose {"UaType":12,"Value":""} ->  | in a DataValue {"UaType":12,"Value":""} -> null
Double "NaN" Compact {"UaType":11,"Value":null} -> null | in a DataValue {"UaType":11,"Value":null} -> null
Double "NaN" Verbose {"UaType":11,"Value":null} -> null | in a DataValue {"UaType":11,"Value":null} -> null
Double "-Infinity" Compact {"UaType":11,"Value":null} -> null | in a DataValue {"UaType":11,"Value":null} -> null
Double "-Infinity" Verbose {"UaType":11,"Value":null} -> null | in a DataValue {"UaType":11,"Value":null} -> null
21.5 and NaN: {"UaType":11,"Value":[21.5,null]} -> 21.5,0'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
