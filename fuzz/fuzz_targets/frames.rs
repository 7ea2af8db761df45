//! See [`properties::frames`].
#![no_main]

mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::frames(bytes));
