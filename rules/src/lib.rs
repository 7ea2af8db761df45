//! Rules of the connector interface about texts. A connector keeps them, and a host checks them with the same code, so no
//! text passes on one side and fails on the other.

pub mod json;
pub mod text;
