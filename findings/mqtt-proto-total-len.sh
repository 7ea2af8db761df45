#!/usr/bin/env bash
# The header of mqtt-proto says that a packet of 13 bytes has a total length of 1.
# Expected: `Header::total_len` is what its name says, and what `Packet::encode_len` and the header that a `PollPacket` reads state:
# the whole packet, with its first byte and the field of the length. MQTT 3.1.1, 2.2.3, has that field in 1 to 4 bytes.
# Seen (mqtt-proto 0.4.0): `Header::decode` puts the size of that field into `total_len`; a packet of 13 bytes has 1, one of 213 has 2.
# Why it matters: a reader that waits for `total_len` bytes and takes them off its buffer cuts each packet behind its second byte.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cargo init --quiet --name total-len --vcs none .
cargo add --quiet mqtt-proto@=0.4.0
cat >src/main.rs <<'RUST'
use mqtt_proto::v3::{Header, Packet, Publish};
use mqtt_proto::{QosPid, TopicName};
fn main() {
    for size in [8, 207] {
        let topic = TopicName::try_from("t").expect("topic");
        let packet = Packet::Publish(Publish::new(QosPid::Level0, topic, vec![b'x'; size].into()));
        let bytes = packet.encode().expect("bytes");
        let header = Header::decode(bytes.as_ref()).expect("header");
        println!("{} bytes: encode_len {}, total_len {}", bytes.as_ref().len(), packet.encode_len().expect("length"), header.total_len);
    }
}
RUST
seen=$(cargo run --quiet)
expected='13 bytes: encode_len 13, total_len 1
213 bytes: encode_len 213, total_len 2'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
