//! What operations declare of themselves, and the checking of their inputs against it.

pub mod fields;
mod input;
pub mod schema;
mod spec;

pub use input::{read_input, typed};
pub use spec::Spec;
