//! What must hold for any bytes of a server. The fuzz targets look for bytes for which it does not; an ordinary test runs
//! the corpus through the same functions.
#![allow(dead_code, reason = "each target uses one of them")]

use std::time::Duration;

use azure_iot_connector::amqp::Message;
use azure_iot_connector::amqp::codec::{Limits, decode_one, encode};
use azure_iot_connector::amqp::connection::{Connection, Event, Options};
use azure_iot_connector::amqp::link::LinkOptions;
use azure_iot_connector::amqp::sasl::Mechanism;
use azure_iot_connector::eventhub;

/// Any bytes are a value or an error; a value can be written, and is the same when it is read again.
pub fn types(bytes: &[u8]) {
    let Ok(value) = decode_one(bytes, Limits::MESSAGE) else { return };
    let _ = value.to_json();
    let mut written = Vec::new();
    encode(&value, &mut written);
    let Ok(again) = decode_one(&written, Limits::MESSAGE) else {
        panic!("{value:?} is written in a form that is not read")
    };
    // An array that cannot be written as one comes back as a list, and numbers that are none are not equal.
    let mut second = Vec::new();
    encode(&again, &mut second);
    assert_eq!(written, second);
}

/// Any bytes are a message or an error; a message becomes an event or does not, and can be written.
pub fn messages(bytes: &[u8]) {
    let _ = eventhub::Event::read(bytes);
    let Ok(message) = Message::decode(bytes) else { return };
    let written = message.encode();
    assert!(Message::decode(&written).is_ok(), "{message:?} is written in a form that is not read");
}

/// A server's opening, up to the begin.
const OPENING: &[u8] = b"AMQP\x03\x01\x00\x00\
    \x00\x00\x00\x1c\x02\x01\x00\x00\x00\x53\x40\xc0\x0f\x01\xe0\x0c\x01\xa3\x09ANONYMOUS\
    \x00\x00\x00\x10\x02\x01\x00\x00\x00\x53\x44\xc0\x03\x01\x50\x00\
    AMQP\x00\x01\x00\x00\
    \x00\x00\x00\x11\x02\x00\x00\x00\x00\x53\x10\xc0\x04\x01\xa1\x01p\
    \x00\x00\x00\x16\x02\x00\x00\x00\x00\x53\x11\xc0\x09\x04\x60\x00\x00\x43\x52\x64\x52\x64";

/// Any bytes of a server, in any phase and in pieces: no panic, and nothing without bounds.
pub fn frames(bytes: &[u8]) {
    let Some((&[cut, piece], rest)) = bytes.split_first_chunk::<2>() else { return };
    let now = Duration::from_secs(1);
    let options = Options::new("c", "h", Mechanism::Anonymous);
    let largest = options.max_held_bytes;
    let mut connection = Connection::new(options, now);
    let opening = OPENING.get(..usize::from(cut)).unwrap_or(OPENING);
    let opened = connection.receive(opening, now);
    if opening.len() == OPENING.len() {
        assert_eq!((opened, connection.event()), (Ok(()), Some(Event::Ready)), "the opening is a good one");
    }
    if let Ok(link) = connection.attach(&LinkOptions::receiver("r", "a")) {
        connection.set_prefetch(link, 100);
    }
    if let Ok(link) = connection.attach(&LinkOptions::sender("s", "a")) {
        let _ = connection.send(link, vec![0; 2_000]);
    }
    let mut held = 0;
    for part in rest.chunks(usize::from(piece).max(1)) {
        let result = connection.receive(part, now);
        while let Some(event) = connection.event() {
            if let Event::Delivery(delivery) = event {
                held += delivery.payload.len();
                assert!(held <= largest);
                if delivery.payload.len() % 2 == 0 {
                    held -= delivery.payload.len();
                    connection.consumed(&delivery);
                }
            }
        }
        let length = connection.outgoing().len();
        connection.sent(length, now);
        if result.is_err() {
            break;
        }
    }
}
