//! Frames: the eight-byte header of each frame, and the protocol headers that precede all frames (part 2 of the
//! standard, 2.2, 2.3).

use super::error::Misbehaviour;

/// The protocol header of the SASL layer.
pub const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// The protocol header of AMQP itself.
pub const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// Every peer must accept frames of this size, in bytes, even before a frame size is agreed (MIN-MAX-FRAME-SIZE).
pub const SMALLEST_MAX_FRAME: u32 = 512;

/// The size of a frame's header, in bytes.
pub const HEADER_SIZE: usize = 8;
/// The frame type of AMQP.
pub const TYPE_AMQP: u8 = 0;
/// The frame type of SASL.
pub const TYPE_SASL: u8 = 1;

/// A frame's header, and the position of the frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// [`TYPE_AMQP`] or [`TYPE_SASL`].
    pub kind: u8,
    /// The channel number.
    pub channel: u16,
    /// The offset of the body from the frame's first byte.
    pub body_at: usize,
    /// The size of the whole frame, in bytes.
    pub size: usize,
}

/// Reads the header of the frame at the start of `bytes`; none if the frame is not complete yet.
///
/// # Errors
/// [`Misbehaviour`] where the header is invalid, or the frame is larger than `largest`. The error is returned as soon
/// as the first bytes have arrived, so that no memory is ever kept for such a frame.
pub fn read_header(bytes: &[u8], largest: u32) -> Result<Option<FrameHeader>, Misbehaviour> {
    let Some(size) = bytes.first_chunk::<4>() else { return Ok(None) };
    let size = u32::from_be_bytes(*size);
    if size > largest {
        return Err(Misbehaviour::FrameTooLarge { size, limit: largest });
    }
    let size = usize::try_from(size).map_err(|_| Misbehaviour::FrameHeader)?;
    if size < HEADER_SIZE {
        return Err(Misbehaviour::FrameHeader);
    }
    let Some(&[_, _, _, _, offset, kind, high, low]) = bytes.first_chunk::<HEADER_SIZE>() else { return Ok(None) };
    let body_at = usize::from(offset) * 4;
    if body_at < HEADER_SIZE || body_at > size || !matches!(kind, TYPE_AMQP | TYPE_SASL) {
        return Err(Misbehaviour::FrameHeader);
    }
    if bytes.len() < size {
        return Ok(None);
    }
    Ok(Some(FrameHeader { kind, channel: u16::from_be_bytes([high, low]), body_at, size }))
}

/// Appends a frame whose body is written by `body`. Returns the frame's size in bytes.
pub fn write_frame(kind: u8, channel: u16, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend([0, 0, 0, 0, 2, kind]);
    out.extend(channel.to_be_bytes());
    body(out);
    let size = out.len() - start;
    let bytes = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&bytes);
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_eight_bytes() {
        let mut out = Vec::new();
        assert_eq!(write_frame(TYPE_AMQP, 0, &mut out, |_| ()), 8);
        assert_eq!(out, [0, 0, 0, 8, 2, 0, 0, 0]);
        let header = read_header(&out, 512).expect("a frame").expect("all of it");
        assert_eq!((header.body_at, header.size, header.channel), (8, 8, 0));
    }

    #[test]
    fn an_extended_header_is_skipped() {
        let frame = [0, 0, 0, 13, 3, 0, 0, 7, 1, 2, 3, 4, 0x40];
        assert_eq!(read_header(&frame, 512).expect("a frame").expect("all of it").body_at, 12);
        assert_eq!(read_header(&frame[..12], 512), Ok(None));
    }

    #[test]
    fn impossible_headers_are_refused_at_once() {
        for bytes in [
            &[0, 0, 0, 7][..],
            &[0, 0, 0, 8, 1, 0, 0, 0],
            &[0, 0, 0, 8, 3, 0, 0, 0],
            &[0, 0, 0, 8, 2, 2, 0, 0],
            &[0, 0, 2, 1],
            &[0xff, 0xff, 0xff, 0xff],
            b"HTTP",
        ] {
            assert!(read_header(bytes, 512).is_err(), "{bytes:?}");
        }
    }
}
