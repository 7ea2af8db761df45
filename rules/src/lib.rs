//! What the connector interface asks of texts, in one place for both sides of it: a connector keeps these rules, and a host
//! checks them with the same code. So no text passes on one side and fails on the other.

pub mod json;
pub mod text;
