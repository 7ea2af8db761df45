//! Rules of the connector interface for texts. Connectors and hosts check them with the same code, so that no text
//! passes on one side and fails on the other.

pub mod json;
pub mod text;
