//! Random identifiers and keys, and the deterministic generator behind fault probabilities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `bytes` random bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: usize) -> String {
    encode_hex(&fill(bytes))
}

/// Lower-case hexadecimal.
pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A symmetric key as the services generate it: 32 bytes for a hub, 64 for DPS, in base64.
pub(crate) fn key(bytes: usize) -> String {
    STANDARD.encode(fill(bytes))
}

/// A random UUID in its usual form, for request and operation identifiers.
pub(crate) fn uuid() -> String {
    let text = hex(16);
    format!("{}-{}-4{}-a{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..])
}

/// `bytes` random bytes.
pub(crate) fn fill(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    if let Err(error) = getrandom::fill(&mut buffer) {
        // This happens only on a machine without a random source, and a fixed key would be worse than a crash.
        panic!("the operating system gave no random bytes: {error}");
    }
    buffer
}

/// SplitMix64, a small generator. The same seed gives the same random faults on every machine.
#[derive(Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in 0.0..1.0.
    pub(crate) fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // A double holds whole numbers of up to 53 bits exactly.
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}
