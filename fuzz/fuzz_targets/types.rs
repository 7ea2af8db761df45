//! Any bytes are a value or an error; a value can be written, and is the same when it is read again.
#![no_main]

use azure_iot_connector::amqp::codec::{Limits, decode_one, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
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
});
