//! Changing something that the service replaces as a whole: read it, change what was asked, write it back bound to the
//! ETag that was read. What this code does not know of the thing survives, and so does what others do meanwhile. What the
//! version of the API does not show would not: the services' modules read at the newest version that the service speaks.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorCode, Result, Retry};
use crate::http::{IfMatch, Tagged};

/// Times that a thing is read and written, where others change it in between.
const ATTEMPTS: u32 = 3;

/// Reads, edits and writes. `stated` is the caller's own condition: where it does not hold, the caller has to know, and
/// nothing is tried again. `read` answers none for a thing that does not exist, and `edit` then makes a new one.
///
/// # Errors
/// Those of the three; `precondition-failed` or `conflict` where others are faster every time.
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

/// Whether somebody else wrote between reading and writing.
fn raced(error: &Error, existed: bool) -> bool {
    match error.code() {
        ErrorCode::PreconditionFailed | ErrorCode::NotFound => existed,
        ErrorCode::Conflict => !existed,
        _ => false,
    }
}

fn no_etag() -> Error {
    Error::new(ErrorCode::Protocol, "The service gave no ETag, so a change could undo somebody else's")
        .with_retry(Retry::Backoff)
}

/// Sets a member at a path, making the objects on the way: an answer of a service need not have the shape it should.
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
