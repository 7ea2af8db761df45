//! Changes a thing that the service can only replace as a whole: it is read, edited, and written back on the condition
//! that its ETag is still the same. Members that this code does not know are kept, and so are changes that others make
//! meanwhile. Members that the API version does not show would be lost, so the services' modules read at the newest
//! version that the service offers.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorCode, Result, Retry};
use crate::http::{IfMatch, Tagged};

/// The number of attempts to read and write a thing that others change in between.
const ATTEMPTS: u32 = 3;

/// Reads, edits and writes a thing. `stated` is the caller's own condition: if the condition does not hold, the error
/// is reported without another attempt. `read` returns none if the thing does not exist, and `edit` then makes a new
/// one.
///
/// # Errors
/// The errors of `read`, `edit` and `write`; `precondition-failed` or `conflict` if others change the thing in every
/// attempt.
pub fn apply(
    stated: Option<&IfMatch>,
    read: impl Fn() -> Result<Option<Tagged>>,
    edit: impl Fn(Option<Value>) -> Result<Value>,
    write: impl Fn(Value, Option<&IfMatch>) -> Result<Tagged>,
) -> Result<Tagged> {
    let mut attempt = 1;
    loop {
        let (old, etag) = match read()? {
            Some(found) => (Some(found.document), Some(found.etag)),
            None => (None, None),
        };
        let existed = old.is_some();
        let new = edit(old)?;
        let if_match = match (stated, etag) {
            (Some(stated), _) => Some(stated.clone()),
            (None, Some(etag)) => Some(IfMatch::Tag(etag.ok_or_else(no_etag)?)),
            (None, None) => None,
        };
        match write(new, if_match.as_ref()) {
            Err(error) if stated.is_none() && attempt < ATTEMPTS && raced(&error, existed) => attempt += 1,
            result => return result,
        }
    }
}

/// Whether an error shows that somebody else changed the thing between reading and writing.
fn raced(error: &Error, existed: bool) -> bool {
    match error.code() {
        ErrorCode::PreconditionFailed | ErrorCode::NotFound => existed,
        ErrorCode::Conflict => !existed,
        _ => false,
    }
}

/// The error for an answer without an ETag.
pub fn no_etag() -> Error {
    Error::new(ErrorCode::Protocol, "The service gave no ETag, so a change could undo somebody else's")
        .with_retry(Retry::Backoff)
}

/// Sets the member at a path. Values on the way that are missing or not objects become objects, because a service's
/// response may not have the expected shape.
pub fn set(target: &mut Value, path: &[&str], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        *target = value;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Some(members) = target.as_object_mut() {
        set(members.entry(*name).or_insert(Value::Null), rest, value);
    }
}
