#!/usr/bin/env bash
# The text that asyncua writes for a node with a namespace URI names another node when it is read again.
# Expected: OPC 10000-6 (1.04), 5.3.1.11: "svr=1;nsu=urn:plant;s=Line" is a server, a namespace and an identifier, in this order. What comes
# last may hold semicolons, since it reaches to the end. A node that is written and read again is the same node.
# Seen (asyncua 2.1.0): it is read right, but for the server, which is dropped. It is written as "s=Line;nsu=urn:plant", and read from
# that it is a node of namespace 0 with the identifier "Line;nsu=urn:plant", of the class NodeId and without an error. Numbers come
# back. Identifiers such as "Line;1" and "a=b" are fine where the namespace is a number.
# Why it matters: the form with the URI is the one to keep in a file or a twin, since the indexes of namespaces change when a server
# starts anew. A workflow that keeps it subscribes to a node that does not exist, and one node on two servers is one node.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check asyncua==2.1.0
seen=$("$work/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from asyncua import ua

print(version("asyncua"))
for text in ["ns=2;s=Line;1", "ns=2;s=a=b", "nsu=urn:plant;i=5", "nsu=urn:plant;s=Line", "nsu=http://x/y?a=b;s=Line", "svr=1;nsu=urn:plant;s=Line"]:
    node = ua.NodeId.from_string(text)
    again = ua.NodeId.from_string(node.to_string())
    print(text, "->", node.to_string(), "->", type(again).__name__, again.NamespaceIndex, again.Identifier, "the same" if again == node else "another")
one, two = (ua.NodeId.from_string(f"svr={server};nsu=urn:plant;s=Line") for server in [1, 2])
print("equal on two servers:", one == two)
PYTHON
)
expected='2.1.0
ns=2;s=Line;1 -> ns=2;s=Line;1 -> NodeId 2 Line;1 the same
ns=2;s=a=b -> ns=2;s=a=b -> NodeId 2 a=b the same
nsu=urn:plant;i=5 -> i=5;nsu=urn:plant -> ExpandedNodeId 0 5 the same
nsu=urn:plant;s=Line -> s=Line;nsu=urn:plant -> NodeId 0 Line;nsu=urn:plant another
nsu=http://x/y?a=b;s=Line -> s=Line;nsu=http://x/y?a=b -> NodeId 0 Line;nsu=http://x/y?a=b another
svr=1;nsu=urn:plant;s=Line -> s=Line;nsu=urn:plant -> NodeId 0 Line;nsu=urn:plant another
equal on two servers: True'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
