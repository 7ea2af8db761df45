//! Actions that delete. They differ only in the thing that they delete.

use serde_json::{Value, json};

use super::declaration::{Field, optional};
use super::input::Input;
use crate::error::{ErrorCode, Result};
use crate::form::fields;
use crate::http::IfMatch;
use crate::session::Session;

/// The field that states what happens if the thing does not exist.
pub const IF_MISSING: Field = optional("ifMissing", fields::if_missing);
/// The field with the condition of the deletion.
pub const ETAG: Field = optional("etag", fields::etag);

/// Deletes a thing. The output has the members of the input in `names`, which identify the thing, and whether anything
/// was deleted.
///
/// # Errors
/// The errors of `delete`; not `not-found` where the input allows that the thing is missing.
pub fn remove(
    session: &Session,
    input: &Input,
    names: &[&str],
    delete: impl FnOnce(&Session, &IfMatch) -> Result<()>,
) -> Result<Value> {
    let if_match = input.if_match()?;
    let may_be_missing = input.text("ifMissing") == Some("ignore");
    let deleted = match delete(session, &if_match) {
        Ok(()) => true,
        Err(error) if error.code() == ErrorCode::NotFound && may_be_missing => false,
        Err(error) => return Err(error),
    };
    let mut output = json!({ "deleted": deleted });
    for name in names {
        output[*name] = input.required_text(name).into();
    }
    Ok(output)
}
