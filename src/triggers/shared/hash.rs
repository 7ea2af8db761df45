//! Short hashes, for cursors and for the ids of events.

use sha2::{Digest as _, Sha256};

/// A hash of these parts, up to 32 bytes long. The same text with other boundaries between the parts gives another
/// hash.
pub fn digest<'p, const BYTES: usize>(parts: impl IntoIterator<Item = &'p str>) -> [u8; BYTES] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let all: [u8; 32] = hash.finalize().into();
    let mut short = [0; BYTES];
    short.copy_from_slice(&all[..BYTES]);
    short
}

/// Bytes as hexadecimal digits, for an event's id.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
