//! The declarations of operations, and the check of an operation's input against its declared schema.

pub mod fields;
mod input;
pub mod schema;
mod spec;

pub use input::{read_input, typed};
pub use spec::Spec;
