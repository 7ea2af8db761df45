//! HTTP/2 frames as bytes (RFC 9113), and the client's frames, read only as far as a peer needs them.

use serde::Deserialize;

use super::table::Bytes;

/// The bytes that a client sends before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header: length, type, flags and stream.
pub const FRAME_HEADER: usize = 9;
/// The flag of DATA and HEADERS that ends a stream.
pub const END_STREAM: u8 = 0x1;
/// The flag of SETTINGS and PING that acknowledges such a frame of the other side.
pub const ACK: u8 = 0x1;
/// The flag of HEADERS and CONTINUATION that ends a head.
pub const END_HEADERS: u8 = 0x4;

/// The type of a frame, by its number in the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A part of a body.
    Data = 0,
    /// A head, or trailers.
    Headers = 1,
    /// A type from an older version of the standard.
    Priority = 2,
    /// Ends a stream.
    RstStream = 3,
    /// The settings of one side.
    Settings = 4,
    /// Announces a response that was not requested.
    PushPromise = 5,
    /// Asks whether the other side is still there.
    Ping = 6,
    /// Ends a connection.
    Goaway = 7,
    /// Grants more room to send.
    WindowUpdate = 8,
    /// Continues a head.
    Continuation = 9,
    /// A type that no standard has.
    Unknown = 0xee,
}

/// A frame as the table describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct H2Frame {
    /// The frame's type.
    pub kind: Kind,
    /// The frame's flags.
    #[serde(default)]
    pub flags: u8,
    /// The frame's stream. Without it, the stream of the last request.
    pub stream: Option<u32>,
    /// The frame's payload. It comes after the fields, if there are any.
    pub payload: Option<Bytes>,
    /// Fields of a head. Each is written as a literal (RFC 7541, 6.2.2).
    #[serde(default)]
    pub fields: Vec<(String, Bytes)>,
    /// The length in the frame's header, where it must differ from the true length.
    pub length: Option<u32>,
}

impl H2Frame {
    /// The frame's bytes. `stream` is the stream of the last request.
    #[must_use]
    pub fn to_vec(&self, stream: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        for (name, value) in &self.fields {
            put_field(&mut payload, name.as_bytes(), &value.to_vec());
        }
        payload.extend(self.payload.as_ref().map(Bytes::to_vec).unwrap_or_default());
        let stated = self.length.unwrap_or(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        frame(self.kind as u8, self.flags, self.stream.unwrap_or(stream), stated, &payload)
    }
}

/// A frame's bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The correct response: a head and a JSON body.
#[must_use]
pub fn answer(stream: u32, body: &str) -> Vec<u8> {
    let mut head = Vec::new();
    put_field(&mut head, b":status", b"200");
    put_field(&mut head, b"content-type", b"application/json; charset=utf-8");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut bytes = frame(Kind::Headers as u8, END_HEADERS, stream, length(&head), &head);
    bytes.extend(frame(Kind::Data as u8, END_STREAM, stream, length(body.as_bytes()), body.as_bytes()));
    bytes
}

/// Appends a field as a literal, without any compression table.
fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    for text in [name, value] {
        put_length(out, text.len());
        out.extend(text);
    }
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn put_length(out: &mut Vec<u8>, length: usize) {
    let small = |length: usize| u8::try_from(length & 0x7f).unwrap_or_default();
    if length < 127 {
        return out.push(small(length));
    }
    out.push(127);
    let mut rest = length - 127;
    while rest > 127 {
        out.push(0x80 | small(rest));
        rest >>= 7;
    }
    out.push(small(rest));
}

/// A frame that the client sent.
#[derive(Debug)]
pub struct Received {
    /// The number of the frame's type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
}

/// Takes the next frame out of the buffer, if the buffer holds all of its bytes.
pub fn next_frame(buffer: &mut Vec<u8>) -> Option<Received> {
    let &[high, middle, low, kind, flags, one, two, three, four] = buffer.first_chunk::<FRAME_HEADER>()?;
    let size = FRAME_HEADER + usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    if buffer.len() < size {
        return None;
    }
    buffer.drain(..size);
    Some(Received { kind, flags, stream: u32::from_be_bytes([one, two, three, four]) & 0x7fff_ffff })
}

#[cfg(test)]
mod tests {
    use super::{answer, next_frame, put_length};

    #[test]
    fn an_answer_is_two_frames() {
        let mut bytes = answer(3, "{}");
        let head = next_frame(&mut bytes).expect("a head");
        assert_eq!((head.kind, head.flags, head.stream), (1, 4, 3));
        let body = next_frame(&mut bytes).expect("a body");
        assert_eq!((body.kind, body.flags, body.stream), (0, 1, 3));
        assert!(bytes.is_empty());
    }

    #[test]
    fn lengths_are_those_of_the_standard() {
        for (length, bytes) in [(10, &[10][..]), (126, &[126]), (127, &[127, 0]), (1337, &[127, 0xba, 0x09])] {
            let mut out = Vec::new();
            put_length(&mut out, length);
            assert_eq!(out, bytes, "{length}");
        }
    }
}
