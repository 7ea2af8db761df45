//! What a form can offer: dropdowns, and schemas that depend on the account.

use crate::bindings::exports::workflow::connector::discovery::{Choices, ChoicesRequest, Direction};
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::platform::Platform;

/// See `discovery.options` of the interface.
///
/// # Errors
/// As there.
pub fn options(
    _platform: &dyn Platform,
    _connection: &Connection,
    _request: &ChoicesRequest,
    _deadline_ms: u64,
) -> Result<Choices> {
    Err(Error::new(ErrorCode::Unsupported, "not yet"))
}

/// See `discovery.resolve-schema` of the interface.
///
/// # Errors
/// As there.
pub fn resolve_schema(
    _platform: &dyn Platform,
    _connection: &Connection,
    _operation: &str,
    _direction: Direction,
    _partial: &str,
    _deadline_ms: u64,
) -> Result<String> {
    Err(Error::new(ErrorCode::Unsupported, "not yet"))
}
