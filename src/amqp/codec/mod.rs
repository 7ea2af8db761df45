//! The type system of AMQP 1.0 (part 1 of the standard): values, and their bytes.
//!
//! Why not `serde_amqp`, which exists: its decoder follows nesting without a bound (540 KB of nested lists overflow
//! the stack, measured with 0.18.0), it has no bound on the number of values, and its composites leave out trailing
//! nulls, which Microsoft's own clients show that their service never does. The type system is small; so is this.

mod decode;
mod encode;
pub mod json;
mod types;

pub use decode::{DecodeError, Decoder, Limits, MEMBERS, VALUE, decode_one};
pub use encode::{encode, encode_binary_section};
pub use types::Value;

#[cfg(test)]
pub(crate) mod tests;
