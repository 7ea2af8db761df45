//! Decodes incoming frames and messages, and writes outgoing frames.

use std::io::Read as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use fe2o3_amqp_types::messaging::message::__private::Deserializable;
use fe2o3_amqp_types::messaging::{Body, Message};
use fe2o3_amqp_types::performatives::Performative;
use fe2o3_amqp_types::sasl::SaslInit;
use serde_amqp::Value;

/// The protocol header of AMQP itself.
pub(super) const AMQP_HEADER: &[u8; 8] = b"AMQP\x00\x01\x00\x00";
/// The protocol header of the SASL layer.
pub(super) const SASL_HEADER: &[u8; 8] = b"AMQP\x03\x01\x00\x00";
/// How deeply values may be nested. An attach with a filter has six levels.
const MAX_DEPTH: usize = 32;
/// The length of a frame header in bytes: size, data offset, type and channel.
pub(super) const FRAME_HEADER: usize = 8;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes is shorter than its header or longer than the agreed limit")]
    Size(usize),
    #[error("frame type {0} is unknown")]
    Type(u8),
    #[error("a frame could not be decoded: {0}")]
    Decode(#[from] serde_amqp::Error),
    #[error("a frame is cut short, or nested too deeply")]
    Shape,
}

/// An incoming frame.
#[derive(Debug)]
pub(super) enum Frame {
    /// A heartbeat.
    Empty,
    /// A performative on a channel. Only a transfer has a payload.
    Amqp { channel: u16, performative: Box<Performative>, payload: Bytes },
    /// The only SASL frame that the emulator expects from a client.
    SaslInit(SaslInit),
}

/// Takes the next frame out of the buffer. Returns `None` until the buffer holds the whole frame.
pub(super) fn next_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, FrameError> {
    let Some(size) = buffer.first_chunk::<4>() else { return Ok(None) };
    let size = u32::from_be_bytes(*size) as usize;
    if !(FRAME_HEADER..=limit).contains(&size) {
        return Err(FrameError::Size(size));
    }
    if buffer.len() < size {
        return Ok(None);
    }
    let mut frame = buffer.split_to(size).freeze();
    frame.advance(4);
    let offset = usize::from(frame.get_u8()) * 4;
    let kind = frame.get_u8();
    let channel = frame.get_u16();
    let extended = offset.checked_sub(FRAME_HEADER).filter(|extended| *extended <= frame.len());
    frame.advance(extended.ok_or(FrameError::Size(offset))?);
    match kind {
        0 if frame.is_empty() => Ok(Some(Frame::Empty)),
        0 | 1 if skip(&frame, MAX_DEPTH).is_none() => Err(FrameError::Shape),
        0 => {
            let mut rest: &[u8] = &frame;
            let performative = Box::new(serde_amqp::from_reader(rest.by_ref())?);
            let payload = frame.slice(frame.len() - rest.len()..);
            Ok(Some(Frame::Amqp { channel, performative, payload }))
        }
        1 => Ok(Some(Frame::SaslInit(serde_amqp::from_slice(&frame)?))),
        other => Err(FrameError::Type(other)),
    }
}

/// Appends a frame; `kind` is 0 for AMQP and 1 for SASL.
pub(super) fn put_frame(out: &mut BytesMut, kind: u8, channel: u16, body: &[u8], payload: &[u8]) {
    let size = FRAME_HEADER + body.len() + payload.len();
    out.reserve(size);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u8(2);
    out.put_u8(kind);
    out.put_u16(channel);
    out.put_slice(body);
    out.put_slice(payload);
}

/// The length of the value at the beginning of the bytes; `None` when the value is cut short or nested too deeply. This
/// check comes before decoding, because the codec recurses without a limit: a frame of a few kilobytes could exhaust
/// the stack.
fn skip(bytes: &[u8], depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let code = *bytes.first()?;
    if code == 0 {
        let descriptor = skip(bytes.get(1..)?, depth)?;
        return Some(1 + descriptor + skip(bytes.get(1 + descriptor..)?, depth)?);
    }
    let short = || bytes.get(1).map(|size| (usize::from(*size) + 2, 2));
    let long = || {
        let size = bytes.get(1..)?.first_chunk::<4>()?;
        Some((usize::try_from(u32::from_be_bytes(*size)).ok()?.checked_add(5)?, 5))
    };
    let (length, header) = match code >> 4 {
        0x4 => (1, 1),
        width @ 0x5..=0x9 => (1 + (1 << (width - 5)), 1),
        0xa | 0xc | 0xe => short()?,
        0xb | 0xd | 0xf => long()?,
        _ => return None,
    };
    let content = bytes.get(header..length)?;
    let counter = if header == 2 { 1 } else { 4 };
    match code >> 4 {
        0xc | 0xd => {
            let mut rest = content.get(counter..)?;
            while !rest.is_empty() {
                rest = rest.get(skip(rest, depth)?..)?;
            }
        }
        // Clients send only arrays of simple values, such as symbols. Arrays of described values, lists or maps are
        // refused.
        0xe | 0xf if !content.is_empty() => {
            let element = *content.get(counter)?;
            if element == 0 || element >> 4 > 0xb {
                return None;
            }
        }
        _ => {}
    }
    Some(length)
}

/// Decodes a message; `None` when the bytes are no message.
pub(super) fn decode_message(bytes: &[u8]) -> Option<Message<Body<Value>>> {
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = rest.get(skip(rest, MAX_DEPTH)?..)?;
    }
    match serde_amqp::from_slice::<Deserializable<Message<Body<Value>>>>(bytes) {
        Ok(message) => Some(message.0),
        Err(error) => {
            tracing::debug!(%error, "a message could not be decoded");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amqp::performatives::transfer;
    use crate::amqp::values::encode;

    #[test]
    fn a_frame_comes_out_whole_or_not_at_all() {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, 0, 7, &transfer(3, 1, b"t", true, false), b"payload");
        let whole = wire.clone();
        for length in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..length]);
            assert!(next_frame(&mut part, 1000).expect("no error").is_none(), "{length}");
        }
        match next_frame(&mut wire, 1000).expect("frame").expect("whole") {
            Frame::Amqp { channel: 7, performative, payload } => {
                assert!(matches!(*performative, Performative::Transfer(transfer) if transfer.handle.0 == 3));
                assert_eq!(&payload[..], b"payload");
            }
            other => panic!("{other:?}"),
        }
        assert!(wire.is_empty());
    }

    #[test]
    fn values_nested_without_end_are_refused() {
        let mut value = Value::Null;
        for _ in 0..20 {
            value = Value::List(vec![value]);
        }
        assert_eq!(skip(&encode(&value), MAX_DEPTH), Some(encode(&value).len()));
        let levels = 8000_u16;
        let mut deep = vec![0x40];
        for _ in 0..levels {
            let size = u32::try_from(deep.len() + 4).expect("short");
            deep.splice(0..0, [&[0xd0][..], &size.to_be_bytes(), &1_u32.to_be_bytes()].concat());
        }
        assert_eq!(skip(&deep, MAX_DEPTH), None);
        let described = [vec![0; 9000], vec![0x40]].concat();
        assert_eq!(skip(&described, MAX_DEPTH), None);
        let mut wire = BytesMut::new();
        put_frame(&mut wire, 0, 0, &[&[0, 0x53, 0x10][..], &deep].concat(), &[]);
        assert!(matches!(next_frame(&mut wire, 1 << 20), Err(FrameError::Shape)));
        assert!(decode_message(&[&[0, 0x53, 0x77][..], &deep].concat()).is_none());
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for size in [0u32, 7, 1001, u32::MAX] {
            let mut wire = BytesMut::from(&size.to_be_bytes()[..]);
            assert!(matches!(next_frame(&mut wire, 1000), Err(FrameError::Size(_))));
        }
        let mut wire = BytesMut::from(&b"\x00\x00\x00\x08\xff\x00\x00\x00"[..]);
        assert!(next_frame(&mut wire, 1000).is_err());
    }
}
