//! Deleting.

use serde_json::json;

use crate::bindings::exports::workflow::connector::action::Outcome;
use crate::error::{ErrorCode, Result};

/// The answer to a deletion; `if_missing` is the input's field of that name.
///
/// # Errors
/// Those of `deleted`, but for a `not-found` that the input makes light of.
pub fn outcome(id_field: &str, id: &str, if_missing: Option<&str>, deleted: Result<()>) -> Result<Outcome> {
    let done = match deleted {
        Ok(()) => true,
        Err(error) if error.code() == ErrorCode::NotFound && if_missing == Some("ignore") => false,
        Err(error) => return Err(error),
    };
    Ok(Outcome::Done(json!({ id_field: id, "deleted": done }).to_string()))
}
