//! The two ways of reading a transfer.

use proptest::prelude::*;

use crate::amqp::codec::tests::value;
use crate::amqp::codec::{Limits, Value, decode_one, encode};
use crate::amqp::performative::{Performative, Transfer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What the quick way reads, the thorough way reads as well.
    #[test]
    fn both_ways_read_the_same_transfer(
        handle in any::<u32>(), id in proptest::option::of(any::<u32>()),
        tag in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        settled in proptest::option::of(any::<bool>()), more in any::<bool>(), aborted in any::<bool>(),
        replaced in proptest::option::weighted(0.4, (any::<prop::sample::Index>(), value())),
        length in 0_usize..14, payload in proptest::collection::vec(any::<u8>(), 0..9),
        damage in proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let transfer =
            Transfer { handle, delivery_id: id, delivery_tag: tag, message_format: Some(0), settled, more, aborted };
        let mut whole = Vec::new();
        Performative::Transfer(transfer.clone()).encode(&mut whole);
        let Ok(Value::Described(described)) = decode_one(&whole, Limits::PERFORMATIVE) else {
            return Err(TestCaseError::fail("a described value"));
        };
        let (_, Value::List(mut fields)) = *described else { return Err(TestCaseError::fail("a list")) };
        whole.extend(&payload);
        prop_assert_eq!(Transfer::decode_plain(&whole), Some((transfer, payload.as_slice())));
        if let Some((index, value)) = replaced {
            let index = index.index(fields.len());
            fields[index] = value;
        }
        fields.resize(length, Value::Null);
        let mut bytes = Vec::new();
        encode(&Value::described(0x14, Value::List(fields)), &mut bytes);
        bytes.extend(payload);
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some((transfer, rest)) = Transfer::decode_plain(&bytes) {
            prop_assert_eq!(Performative::decode_any(&bytes), Ok((Performative::Transfer(transfer), rest)));
        }
    }
}
