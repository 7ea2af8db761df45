//! Dropdowns and schemas of forms that depend on the account.

mod choices;
#[cfg(feature = "amqp")]
mod events;
mod inferred;
mod shape;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::bindings::exports::workflow::connector::discovery::{Choices, ChoicesRequest, Direction};
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::json;
use crate::manifest;
use crate::platform::Platform;
use crate::session::Session;

/// See `discovery.options` of the interface.
///
/// # Errors
/// The errors that the interface lists there.
pub fn options(
    platform: &dyn Platform,
    connection: &Connection,
    request: &ChoicesRequest,
    deadline_ms: u64,
) -> Result<Choices> {
    let request = choices::Request::read(request)?;
    Session::run(platform, connection, deadline_ms, |session| choices::offer(session, request))
}

/// See `discovery.resolve-schema` of the interface.
///
/// # Errors
/// The errors that the interface lists there.
pub fn resolve_schema(
    platform: &dyn Platform,
    connection: &Connection,
    operation: &str,
    direction: Direction,
    partial: &str,
    deadline_ms: u64,
) -> Result<String> {
    let found = manifest::operations()
        .find(|known| known.id == operation)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("This connector has no operation \"{operation}\".")))?;
    if direction == Direction::Input || !found.dynamic_output {
        let side = if direction == Direction::Input { "input" } else { "output" };
        let message = format!("The {side} of \"{operation}\" is the same for every account: see its descriptor.");
        return Err(Error::new(ErrorCode::Unsupported, message));
    }
    let partial = read_object(partial, "/partial")?;
    let schema: Value = serde_json::from_str(&found.output_schema).map_err(|error| {
        Error::new(ErrorCode::Internal, "A schema of the connector is broken").with_detail(error.to_string())
    })?;
    Session::run(platform, connection, deadline_ms, |session| {
        #[cfg(feature = "amqp")]
        if schema.pointer("/properties/bodyEncoding").is_some() {
            let samples = events::samples(session, operation, &partial)?;
            return Ok(events::refine(schema, &samples, &partial).to_string());
        }
        Ok(match shape::example(session, &partial)? {
            Some(twin) => shape::refine(schema, &twin).to_string(),
            None => found.output_schema,
        })
    })
}

/// Reads a partly filled form. An empty text is an empty form.
fn read_object(text: &str, pointer: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Error::field(pointer, "not-json", "must be a JSON object")),
    }
}
