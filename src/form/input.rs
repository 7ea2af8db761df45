//! Reads the JSON text of an input, checks it, and converts it to the operation's type. All problems are reported
//! together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use connector_rules::json::has_levels;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema;
use crate::error::{Error, ErrorCode, Result, settle};
use crate::json;

/// Converts the input, which was already checked against the schema, to the action's own type. Members that may be any
/// JSON must be taken out before, see [`json::take`].
///
/// # Errors
/// `invalid-input` if the type is stricter than the schema.
pub fn typed<T: DeserializeOwned>(input: Value) -> Result<T> {
    serde_json::from_value(input).map_err(|error| Error::field("", "wrong-type", error.to_string()))
}

/// Reads the input of an operation and checks it against the operation's schema, which is built once for each instance.
/// Top-level members that are null count as absent, because forms send null for empty fields.
///
/// # Errors
/// `invalid-input` with every field that is wrong.
pub fn read_input(operation: &'static str, schema: impl FnOnce() -> String, text: &str) -> Result<Value> {
    // The input becomes a part of a request, a plan or a token, which add levels of nesting around it.
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
    settle(problems)?;
    schema::settle(&schema, &mut input);
    Ok(input)
}

/// The schema of an operation's input, kept for later calls: building, printing and parsing it took longer than the
/// connector's other work in a call.
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
