#!/usr/bin/env bash
# Bit 0 of a status register is number 8 in pymodbus's list of bits.
# Expected: Modbus registers are numbers of 16 bits, and the manuals of devices count a status word's bits from the lowest: 0001 is bit 0.
# convert_from_registers turns registers into bits in this order, or in the reverse.
# Seen (pymodbus 3.16.1): 0001 has its True at index 8, 0100 at index 0, 8000 at index 7: the two bytes are taken as those of coils. A list
# of bits is written the same way, so that a check of both finds nothing, and the list that the caller gave is made longer on the
# way. pyModbusTCP 0.3.1 counts from the lowest: 0001 is index 0.
# Why it matters: with the common device, bit 0 "running" is reported as bit 8 "overheated", and a workflow that sets bit 0 of a
# command sets bit 8. Registers of numbers are right, so the connection looks fine.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pymodbus==3.16.1 pyModbusTCP==0.3.1
seen=$("$work/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from pymodbus.client.mixin import ModbusClientMixin
from pyModbusTCP.utils import get_bits_from_int

print("pymodbus", version("pymodbus"), "pyModbusTCP", version("pyModbusTCP"))
bits = ModbusClientMixin.DATATYPE.BITS
for register in [0x0001, 0x0100, 0x8000]:
    found = ModbusClientMixin.convert_from_registers([register], bits)
    print(f"{register:04x}: pymodbus {found.index(True)}, pyModbusTCP {get_bits_from_int(register, val_size=16).index(True)}")
mine = [True]
print(f"bit 0 written: {ModbusClientMixin.convert_to_registers(mine, bits)[0]:04x}, and the list has {len(mine)} items")
print("as a number:", ModbusClientMixin.convert_from_registers([0x0001], ModbusClientMixin.DATATYPE.UINT16))
PYTHON
)
expected='pymodbus 3.16.1 pyModbusTCP 0.3.1
0001: pymodbus 8, pyModbusTCP 0
0100: pymodbus 0, pyModbusTCP 8
8000: pymodbus 7, pyModbusTCP 15
bit 0 written: 0100, and the list has 16 items
as a number: 1'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
