//! The standard's example bytes, values that are written and read back, and invalid bytes.

use proptest::prelude::*;
use serde_json::json;

use super::{DecodeError, Decoder, Limits, Value, decode_one, encode};
use crate::amqp::message::{Body, Message, Properties};
use crate::amqp::performative::Performative;

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out);
    out
}

fn read(bytes: &[u8]) -> Result<Value, DecodeError> {
    decode_one(bytes, Limits::MESSAGE)
}

#[test]
fn the_standards_encodings_are_written_and_read() {
    let cases: Vec<(Value, &[u8])> = vec![
        (Value::Null, &[0x40]),
        (Value::Boolean(true), &[0x41]),
        (Value::Boolean(false), &[0x42]),
        (Value::Ubyte(255), &[0x50, 0xff]),
        (Value::Ushort(258), &[0x60, 1, 2]),
        (Value::Uint(0), &[0x43]),
        (Value::Uint(255), &[0x52, 0xff]),
        (Value::Uint(256), &[0x70, 0, 0, 1, 0]),
        (Value::Ulong(0), &[0x44]),
        (Value::Ulong(16), &[0x53, 0x10]),
        (Value::Ulong(0x0000_468c_0000_0004), &[0x80, 0, 0, 0x46, 0x8c, 0, 0, 0, 4]),
        (Value::Byte(-1), &[0x51, 0xff]),
        (Value::Short(-2), &[0x61, 0xff, 0xfe]),
        (Value::Int(-1), &[0x54, 0xff]),
        (Value::Int(-129), &[0x71, 0xff, 0xff, 0xff, 0x7f]),
        (Value::Long(127), &[0x55, 0x7f]),
        (Value::Long(128), &[0x81, 0, 0, 0, 0, 0, 0, 0, 0x80]),
        (Value::Float(1.0), &[0x72, 0x3f, 0x80, 0, 0]),
        (Value::Double(-2.0), &[0x82, 0xc0, 0, 0, 0, 0, 0, 0, 0]),
        (Value::Decimal32([1, 2, 3, 4]), &[0x74, 1, 2, 3, 4]),
        (Value::Decimal64([1; 8]), &[0x84, 1, 1, 1, 1, 1, 1, 1, 1]),
        (Value::Char('é'), &[0x73, 0, 0, 0, 0xe9]),
        (Value::Timestamp(1_311_704_463_521), &[0x83, 0, 0, 1, 0x31, 0x67, 0xad, 0xb8, 0xa1]),
        (Value::Binary(vec![1, 2]), &[0xa0, 2, 1, 2]),
        (Value::string("Hi"), &[0xa1, 2, b'H', b'i']),
        (Value::symbol("q"), &[0xa3, 1, b'q']),
        (Value::List(vec![]), &[0x45]),
        (Value::List(vec![Value::Null, Value::Uint(0)]), &[0xc0, 3, 2, 0x40, 0x43]),
        (Value::Map(vec![(Value::symbol("k"), Value::Boolean(true))]), &[0xc1, 5, 2, 0xa3, 1, b'k', 0x41]),
        (
            Value::Array(vec![Value::symbol("a"), Value::symbol("b")]),
            &[0xe0, 12, 2, 0xb3, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b'],
        ),
        // The example of the standard, part 1, section 1.2: a described URL.
        (
            Value::Described(Box::new((Value::string("URL"), Value::string("http://example.org/hello-world")))),
            b"\x00\xa1\x03URL\xa1\x1ehttp://example.org/hello-world",
        ),
    ];
    for (value, wire) in cases {
        assert_eq!(bytes(&value), wire, "{value:?}");
        assert_eq!(read(wire), Ok(value));
    }
}

#[test]
fn other_encodings_of_the_same_are_read() {
    let cases: Vec<(&[u8], Value)> = vec![
        (&[0x56, 1], Value::Boolean(true)),
        (&[0x56, 0], Value::Boolean(false)),
        (&[0x70, 0, 0, 0, 5], Value::Uint(5)),
        (&[0x80, 0, 0, 0, 0, 0, 0, 0, 5], Value::Ulong(5)),
        (&[0xb0, 0, 0, 0, 1, 9], Value::Binary(vec![9])),
        (&[0xb1, 0, 0, 0, 1, b'x'], Value::string("x")),
        (&[0xd0, 0, 0, 0, 4, 0, 0, 0, 0], Value::List(vec![])),
        (&[0xd1, 0, 0, 0, 4, 0, 0, 0, 0], Value::Map(vec![])),
        (
            &[0xe0, 8, 2, 0xa3, 1, b'a', 3, b'b', b'c', b'd'],
            Value::Array(vec![Value::symbol("a"), Value::symbol("bcd")]),
        ),
        (&[0xe0, 2, 3, 0x40], Value::Array(vec![Value::Null; 3])),
        (&[0xe0, 4, 2, 0x56, 1, 0], Value::Array(vec![Value::Boolean(true), Value::Boolean(false)])),
        (
            // An empty array has an element constructor, too, and so does the value after it (findings/).
            &[0xc0, 9, 2, 0xe0, 2, 0, 0xa3, 0xa1, 2, b'o', b'k'],
            Value::List(vec![Value::Array(vec![]), Value::string("ok")]),
        ),
        (&[0x80, 0, 0x20, 0, 0, 0, 0, 0, 1], Value::Ulong(9_007_199_254_740_993)),
        (
            // An array of described values: the descriptor is stated once for all elements.
            &[0xe0, 7, 2, 0x00, 0x53, 0x24, 0x50, 1, 2],
            Value::Array(vec![Value::described(0x24, Value::Ubyte(1)), Value::described(0x24, Value::Ubyte(2))]),
        ),
    ];
    for (wire, value) in cases {
        assert_eq!(read(wire), Ok(value), "{wire:x?}");
    }
}

#[test]
fn bounds_hold_before_anything_is_reserved() {
    let cases: Vec<(Vec<u8>, DecodeError)> = vec![
        // Four billion nulls in six bytes.
        (vec![0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40], DecodeError::Memory),
        (vec![0xf0, 0, 0, 0, 5, 0x7f, 0xff, 0xff, 0xff, 0x45], DecodeError::Memory),
        (vec![0xd0, 0, 0, 0, 4, 0, 0, 255, 255], DecodeError::Size),
        (vec![0xb0, 0xff, 0xff, 0xff, 0xff], DecodeError::Truncated),
        (vec![0xc1, 2, 1, 0x40], DecodeError::OddMap),
        (vec![0xc0, 0], DecodeError::Size),
        (vec![0xc0, 1, 1], DecodeError::Size),
        (vec![0xa1, 2, 0xc3, 0x28], DecodeError::Utf8),
        (vec![0x73, 0, 0, 0xd8, 0], DecodeError::Char),
        (vec![0x56, 2], DecodeError::Boolean),
        (vec![0x40, 0x40], DecodeError::Size),
        (vec![], DecodeError::Truncated),
    ];
    for (wire, error) in cases {
        assert_eq!(read(&wire), Err(error), "{wire:x?}");
    }
    let mut deep: Vec<u8> = [0x00, 0x40].repeat(100_000);
    deep.push(0x40);
    assert_eq!(read(&deep), Err(DecodeError::TooDeep));
    let many = bytes(&Value::List(vec![Value::Null; 70_000]));
    assert_eq!(read(&many), Err(DecodeError::Memory));
    // A long descriptor that would be copied for each element.
    let mut wide = vec![0x00, 0xb3, 0, 0, 1, 0];
    wide.extend([b'x'; 256]);
    wide.push(0x40);
    let mut array = vec![0xf0];
    array.extend(u32::try_from(wide.len() + 4).expect("short").to_be_bytes());
    array.extend(30_000_u32.to_be_bytes());
    array.extend(wide);
    assert_eq!(read(&array), Err(DecodeError::Memory));
    array[5..9].copy_from_slice(&1_000_u32.to_be_bytes());
    assert_eq!(read(&array), Err(DecodeError::Composite));
}

/// An array of `count` elements that take up no bytes, with this descriptor for each element.
fn described_nulls(count: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut within = count.to_be_bytes().to_vec();
    within.extend([&[0x00, 0xa3, u8::try_from(descriptor.len()).expect("short")], descriptor, &[0x40]].concat());
    [&[0xf0][..], &u32::try_from(within.len()).expect("short").to_be_bytes(), &within].concat()
}

/// 150 bytes became 20 MB as values and as JSON: the values were few, but each one was large.
#[test]
fn memory_is_counted_and_not_bytes() {
    assert_eq!(read(&described_nulls(20_000, &[b'd'; 120])), Err(DecodeError::Memory));
    let wire = described_nulls(5_000, &[b'd'; 120]);
    let mut decoder = Decoder::new(&wire, Limits::MESSAGE);
    let value = decoder.value().expect("a value");
    assert!(decoder.memory() >= 5_000 * (2 * 96 + 640 + 120), "{}", decoder.memory());
    assert!(value.to_json().to_string().len() < decoder.memory(), "as JSON it is no larger than it counts for");
    // Texts count with their length, whichever type holds them.
    let limits = Limits { depth: 4, memory: 1_000 };
    assert!(decode_one(&bytes(&Value::from("x".repeat(900).as_str())), limits).is_ok());
    for value in [Value::from("x".repeat(905).as_str()), Value::symbol("x".repeat(905)), Value::Binary(vec![0; 905])] {
        assert_eq!(decode_one(&bytes(&value), limits), Err(DecodeError::Memory));
    }
}

/// Each level doubled the backslashes of the level inside it: 200 bytes became gigabytes.
#[test]
fn keys_within_keys_do_not_double_for_ever() {
    let one = Value::Map(vec![(Value::from("\""), Value::Null)]);
    let two = Value::Map(vec![(one, Value::Null)]);
    assert_eq!(read(&bytes(&two)), Ok(two.clone()));
    assert_eq!(two.to_json(), json!({ r#"{"\"":null}"#: null }));
    let three = Value::Map(vec![(two.clone(), Value::Null)]);
    assert_eq!(read(&bytes(&three)), Err(DecodeError::Key));
    let hidden = Value::Map(vec![(Value::List(vec![Value::described(1, two.clone())]), Value::Null)]);
    assert_eq!(read(&bytes(&hidden)), Err(DecodeError::Key));
    // As AMQP values, nested keys are valid: they only become texts in JSON.
    let values = Value::Map(vec![(Value::from("a"), Value::Map(vec![(Value::from("b"), two)]))]);
    assert_eq!(read(&bytes(&values)), Ok(values));
}

/// Annotations that others wrote cannot hide an event's position.
#[test]
fn annotations_that_cannot_be_kept_are_left_out() {
    let deep = (0..40).fold(Value::Null, |value, _| Value::List(vec![value]));
    let place = (Value::symbol("x-opt-offset"), Value::from("7"));
    let annotated = |others: Vec<(Value, Value)>| {
        let pairs: Vec<_> = others.into_iter().chain([place.clone()]).collect();
        Message::decode_lossy(&Message { message_annotations: pairs, ..Message::default() }.encode())
    };
    let fine = annotated(vec![(Value::symbol("a"), Value::Uint(1))]);
    assert_eq!((fine.left_out, fine.message.message_annotations.len()), (None, 2));
    let many = (0..60_000).map(|n| (Value::symbol(format!("{n}")), Value::Null)).collect();
    for (others, why) in [
        (vec![(Value::symbol("deep"), deep.clone()), (deep, Value::Null)], DecodeError::TooDeep),
        (many, DecodeError::Memory),
    ] {
        let read = annotated(others);
        assert_eq!((read.error, read.left_out), (None, Some(why)));
        assert_eq!(read.message.message_annotations.last(), Some(&place));
    }
    // Where the map's own encoding is broken, no annotation is found.
    let broken = Message::decode_lossy(b"\x00\x53\x72\xc1\x05\x02\xa3\x09ab");
    assert_eq!(broken.error, Some(DecodeError::Truncated));
}

#[test]
fn json_keeps_what_it_can() {
    let map = Value::Map(vec![
        (Value::symbol("ulong"), Value::Ulong(u64::MAX)),
        (Value::from("long"), Value::Long(i64::MIN)),
        (Value::from("time"), Value::Timestamp(1_700_000_000_000)),
        (Value::from("uuid"), Value::Uuid(*b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x14\x17\x40\x00")),
        (Value::from("bytes"), Value::Binary(vec![0xff, 0x00])),
        (Value::from("symbol"), Value::symbol("s")),
        (Value::from("nan"), Value::Double(f64::NAN)),
        (Value::from("inf"), Value::Float(f32::NEG_INFINITY)),
        (Value::from("decimal"), Value::Decimal32([0x22, 0x50, 0x00, 0x01])),
        (Value::from("char"), Value::Char('√')),
        (Value::Uint(7), Value::List(vec![Value::Null, Value::Boolean(true)])),
        (Value::Null, Value::described(0x24, Value::Array(vec![]))),
        (Value::from("long"), Value::from("a second one")),
    ]);
    assert_eq!(
        map.to_json(),
        json!({
            "ulong": u64::MAX,
            "long": i64::MIN,
            "time": 1_700_000_000_000_i64,
            "uuid": "123e4567-e89b-12d3-a456-426614174000",
            "bytes": "/wA=",
            "symbol": "s",
            "nan": "NaN",
            "inf": "-Infinity",
            "decimal": "0x22500001",
            "char": "√",
            "7": [null, true],
            "null": { "descriptor": 0x24, "value": [] },
        })
    );
}

#[test]
fn messages_of_every_kind_are_read() {
    // A device's message as it arrives: annotations, properties, application properties, data.
    let wire = b"\x00\x53\x72\xc1\x24\x04\xa3\x15x-opt-sequence-number\x55\x05\xa3\x05other\xa1\x01v\
                 \x00\x53\x73\xc0\x03\x01\xa1\x00\
                 \x00\x53\x74\xc1\x07\x02\xa1\x01k\xa1\x01v\
                 \x00\x53\x75\xa0\x02hi";
    let mut wire = wire.to_vec();
    wire[4] = 1 + 23 + 2 + 7 + 3;
    let message = Message::decode(&wire).expect("a message");
    assert_eq!(message.annotation("x-opt-sequence-number"), Some(&Value::Long(5)));
    assert_eq!(message.properties.message_id, Some(Value::from("")));
    assert_eq!(message.property("k"), Some(&Value::from("v")));
    assert_eq!(message.body, Body::Data(vec![b"hi".to_vec()]));

    let several = b"\x00\x53\x75\xa0\x01a\x00\x53\x75\xa0\x01b";
    assert_eq!(Message::decode(several).expect("data").body, Body::Data(vec![b"a".to_vec(), b"b".to_vec()]));
    let named = b"\x00\xa3\x10amqp:data:binary\xa0\x01a";
    assert_eq!(Message::decode(named).expect("data").body, Body::Data(vec![b"a".to_vec()]));
    let sequence = b"\x00\x53\x76\xc0\x02\x01\x41\x00\x53\x76\x45";
    assert_eq!(
        Message::decode(sequence).expect("lists").body,
        Body::Sequence(vec![vec![Value::Boolean(true)], vec![]])
    );
    let value = b"\x00\x53\x70\x45\x00\x53\x77\xa1\x01x\x00\x53\x78\xc1\x01\x00";
    assert_eq!(Message::decode(value).expect("a value").body, Body::Value(Value::from("x")));

    for (mixed, error) in [
        (&b"\x00\x53\x75\xa0\x01a\x00\x53\x77\x40"[..], DecodeError::Body),
        (b"\x00\x53\x77\x40\x00\x53\x77\x40", DecodeError::Body),
        (b"\x00\x53\x75\xa1\x01a", DecodeError::Composite),
        (b"\x00\x53\x79\x40", DecodeError::Composite),
        (b"\x00\x53\x73\xc0\x02\x01\x41", DecodeError::Field("message-id")),
        (b"\x40", DecodeError::Composite),
    ] {
        assert_eq!(Message::decode(mixed), Err(error), "{mixed:x?}");
    }
}

/// Found by fuzzing: an empty list, and elements with a descriptor, became one level deeper when they were written
/// again.
#[test]
fn what_is_read_at_the_greatest_depth_can_be_written_and_read() {
    let innermost: [&[u8]; 3] = [b"\x45", b"\xe0\x02\x01\x45", b"\xe0\x08\x01\x00\x44\x00\x44\x00\x44\x40"];
    for inner in innermost {
        let mut deepest = 0;
        for depth in 0..40 {
            let mut wire = b"\x00\xa3\x00".repeat(depth);
            wire.extend_from_slice(inner);
            if let Ok(value) = decode_one(&wire, Limits::MESSAGE) {
                deepest = depth;
                assert_eq!(decode_one(&bytes(&value), Limits::MESSAGE).map(|again| bytes(&again)), Ok(bytes(&value)));
            }
        }
        assert!((20..32).contains(&deepest), "{inner:x?} is read down to {deepest} levels");
    }
}

/// A value of any type, nested a few levels deep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        prop_oneof![any::<u32>(), 0_u32..300].prop_map(Value::Uint),
        prop_oneof![any::<u64>(), 0_u64..300].prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        prop_oneof![any::<i32>(), -200_i32..200].prop_map(Value::Int),
        prop_oneof![any::<i64>(), -200_i64..200].prop_map(Value::Long),
        (-1e30_f32..1e30).prop_map(Value::Float),
        (-1e300_f64..1e300).prop_map(Value::Double),
        any::<[u8; 4]>().prop_map(Value::Decimal32),
        any::<[u8; 8]>().prop_map(Value::Decimal64),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
        any::<String>().prop_map(Value::String),
        "[a-z:-]{0,40}".prop_map(Value::Symbol),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..5).prop_map(Value::Map),
            (inner.clone(), 0_usize..5).prop_map(|(one, count)| {
                // Elements that cannot be written as an array come back as a list, so they are not tried here.
                match one {
                    Value::Array(_) | Value::Described(_) => one,
                    one => Value::Array(vec![one; count]),
                }
            }),
            (any::<u64>(), inner).prop_map(|(code, value)| Value::described(code, value)),
        ]
    })
}

/// Whether a compound key contains another compound key.
fn has_keys_within_keys(value: &Value, within: bool) -> bool {
    let is_compound = |key: &Value| {
        let empty_list = matches!(key, Value::List(items) if items.is_empty());
        matches!(key, Value::List(_) | Value::Map(_) | Value::Array(_) | Value::Described(_)) && !empty_list
    };
    match value {
        Value::List(items) | Value::Array(items) => items.iter().any(|item| has_keys_within_keys(item, within)),
        Value::Map(pairs) => pairs.iter().any(|(key, value)| {
            (within && is_compound(key))
                || has_keys_within_keys(key, within || is_compound(key))
                || has_keys_within_keys(value, within)
        }),
        Value::Described(both) => has_keys_within_keys(&both.0, within) || has_keys_within_keys(&both.1, within),
        _ => false,
    }
}

/// The expected result of reading a value that was written.
fn expected(value: &Value) -> Result<Value, DecodeError> {
    if has_keys_within_keys(value, false) { Err(DecodeError::Key) } else { Ok(value.clone()) }
}

proptest! {
    #[test]
    fn values_come_back_as_they_went(value in value()) {
        prop_assert_eq!(read(&bytes(&value)), expected(&value));
        // Every value has a JSON form.
        let _ = value.to_json();
    }

    #[test]
    fn a_value_cut_short_is_an_error(value in value(), cut in any::<prop::sample::Index>()) {
        let wire = bytes(&value);
        let cut = cut.index(wire.len());
        prop_assert!(read(&wire[..cut]).is_err());
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(wire in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Ok(value) = read(&wire) {
            // A value that was read can be written, and is the same when it is read again.
            prop_assert!(size(&value) * 96 <= Limits::MESSAGE.memory as usize);
            let _ = bytes(&value);
        }
        let _ = Message::decode(&wire);
        let _ = Performative::decode(&wire);
        let _ = Decoder::new(&wire, Limits::PERFORMATIVE).value();
    }

    #[test]
    fn messages_come_back_as_they_went(
        annotations in proptest::collection::vec(("[a-z-]{1,10}".prop_map(Value::Symbol), value()), 0..5),
        application in proptest::collection::vec((".{0,10}".prop_map(Value::String), value()), 0..5),
        data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..3),
        id in proptest::option::of(any::<u64>()),
        content_type in proptest::option::of("[a-z/]{1,20}"),
        time in proptest::option::of(any::<i64>()),
    ) {
        let message = Message {
            message_annotations: annotations,
            application_properties: application,
            properties: Properties { message_id: id.map(Value::Ulong), content_type, creation_time: time, ..Properties::default() },
            body: Body::Data(data),
            ..Message::default()
        };
        let pairs = || message.message_annotations.iter().chain(&message.application_properties);
        if pairs().all(|(_, value)| expected(value).is_ok()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        } else {
            prop_assert_eq!(Message::decode(&message.encode()), Err(DecodeError::Key));
        }
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::List(items) | Value::Array(items) => items.iter().map(size).sum(),
        Value::Map(pairs) => pairs.iter().map(|(key, value)| size(key) + size(value)).sum(),
        Value::Described(both) => size(&both.0) + size(&both.1),
        _ => 0,
    }
}
