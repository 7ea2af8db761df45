//! Any bytes are a message or an error; a message becomes an event or does not, and can be written.
#![no_main]

use azure_iot_connector::amqp::Message;
use azure_iot_connector::eventhub::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Event::read(bytes);
    let Ok(message) = Message::decode(bytes) else { return };
    let written = message.encode();
    assert!(Message::decode(&written).is_ok(), "{message:?} is written in a form that is not read");
});
