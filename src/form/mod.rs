//! The declarations of operations, and the check of an operation's input against its declared schema.

pub mod field;
pub mod fields;
pub mod fields_jobs;
mod input;
pub mod limits;
pub mod schema;
mod spec;
pub mod values;

pub use input::{read_input, typed};
pub use spec::Spec;
