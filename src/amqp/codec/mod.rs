//! The type system of AMQP 1.0 (part 1 of the standard): values, and their bytes.
//!
//! The crate `serde_amqp` is not used: its decoder follows nesting without a bound (540 KB of nested lists overflow the
//! stack, measured with version 0.18.0), it does not bound the number of values, and its composites leave out trailing
//! nulls, which Azure's services never do, as Microsoft's own clients show. The type system is small enough to be
//! implemented here.

mod decode;
mod encode;
pub mod json;
mod types;

pub use decode::{DecodeError, Decoder, Limits, MEMBERS, Scalar, VALUE, decode_one};
pub use encode::{encode, encode_binary_section};
pub use types::Value;

#[cfg(test)]
pub(crate) mod tests;
