//! From an input's text to its value and its type, with everything that is wrong reported at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

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

/// Reads the input of an operation and judges it by the operation's schema, which is asked for once for an instance. Members
/// that are null at the top count as left out, since a form sends empty fields so.
///
/// # Errors
/// `invalid-input` with every field at fault.
pub fn read_input(operation: &'static str, schema: impl FnOnce() -> String, text: &str) -> Result<Value> {
    // It becomes a part of a request, a plan or a token, which have levels around it.
    if !has_levels(text, json::RECORD_LEVELS) {
        let message = format!("must not be nested deeper than {} levels", json::RECORD_LEVELS);
        return Err(Error::field("", "too-deep", message));
    }
    let mut input = json::parse(text.as_bytes()).map_err(|error| {
        Error::field("", "not-json", format!("must be valid JSON (line {}, column {})", error.line(), error.column()))
    })?;
    if let Some(members) = input.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    let schema = schema_of(operation, schema)?;
    let problems = schema::check(&schema, &input);
    if problems.is_empty() {
        schema::settle(&schema, &mut input);
        Ok(input)
    } else {
        Err(Error::fields(ErrorCode::InvalidInput, "The input does not fit", problems))
    }
}

/// The schema of an operation's input. To build, print and parse it took longer than all else that a call does by itself.
fn schema_of(operation: &'static str, schema: impl FnOnce() -> String) -> Result<Rc<Value>> {
    thread_local! {
        static SCHEMAS: RefCell<BTreeMap<&'static str, Rc<Value>>> = const { RefCell::new(BTreeMap::new()) };
    }
    if let Some(known) = SCHEMAS.with_borrow(|schemas| schemas.get(operation).cloned()) {
        return Ok(known);
    }
    let schema: Rc<Value> = serde_json::from_str(&schema()).map(Rc::new).map_err(|error| {
        Error::new(ErrorCode::Internal, "A schema of the connector is broken").with_detail(error.to_string())
    })?;
    SCHEMAS.with_borrow_mut(|schemas| schemas.insert(operation, Rc::clone(&schema)));
    Ok(schema)
}
