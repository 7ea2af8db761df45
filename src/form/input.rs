//! From an input's text to its value and its type, with everything that is wrong reported at once.

use connector_rules::json::has_levels;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema;
use crate::error::{Error, ErrorCode, Result};
use crate::json;

/// The input as the action's own type; the schema has judged it already. What may be any JSON is taken out before, see
/// [`json::take`].
///
/// # Errors
/// `invalid-input` where the type is stricter than the schema.
pub fn typed<T: DeserializeOwned>(input: Value) -> Result<T> {
    serde_json::from_value(input).map_err(|error| Error::field("", "wrong-type", error.to_string()))
}

/// Reads a JSON text and judges it by a schema. Members that are null at the top count as left out, since a form sends empty fields so.
///
/// # Errors
/// `invalid-input` with every field at fault.
pub fn read_input(schema: &str, text: &str) -> Result<Value> {
    // It becomes a part of a request, a plan or a token, which have levels around it.
    if !has_levels(text, json::RECORD_LEVELS) {
        let message = format!("is nested deeper than {} levels", json::RECORD_LEVELS);
        return Err(Error::field("", "too-deep", message));
    }
    let mut input = json::parse(text.as_bytes()).map_err(|error| {
        Error::field("", "not-json", format!("is not valid JSON (line {}, column {})", error.line(), error.column()))
    })?;
    if let Some(members) = input.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    let schema: Value = serde_json::from_str(schema).map_err(|error| {
        Error::new(ErrorCode::Internal, "A schema of the connector is broken").with_detail(error.to_string())
    })?;
    let problems = schema::check(&schema, &input);
    if problems.is_empty() {
        schema::settle(&schema, &mut input);
        Ok(input)
    } else {
        Err(Error::fields(ErrorCode::InvalidInput, "The input does not fit", problems))
    }
}
