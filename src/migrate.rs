//! Migration of values that an older version of the connector stored. This is the first version, so nothing has to be
//! changed yet: a stored value is checked to be readable and returned unchanged.

use semver::Version;

use crate::bindings::exports::workflow::connector::metadata::Stored;
use crate::error::{Error, ErrorCode, Result};
use crate::manifest;
use crate::triggers;

/// See `metadata.migrate` of the interface.
///
/// # Errors
/// The errors that the interface lists for `metadata.migrate`.
pub fn migrate(from_version: &str, item: Stored) -> Result<Stored> {
    let from = Version::parse(from_version).map_err(|error| {
        Error::field("/from-version", "not-a-version", format!("must be a semantic version: {error}"))
    })?;
    let own = Version::parse(env!("CARGO_PKG_VERSION")).map_err(|error| {
        Error::new(ErrorCode::Internal, "The connector's own version is broken").with_detail(error.to_string())
    })?;
    if from > own {
        return Err(Error::new(
            ErrorCode::Unsupported,
            format!(
                "This was stored by version {from}. This connector is version {own} and cannot read it: use version {from} or a newer one."
            ),
        ));
    }
    match &item {
        Stored::Connection(connection) => {
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&connection.values) {
                return Err(Error::field(
                    "/values",
                    "not-json",
                    format!("must be valid JSON (line {}, column {})", error.line(), error.column()),
                ));
            }
        }
        Stored::Input(input) => known(&input.operation, input.revision)?,
        Stored::Cursor(cursor) => {
            known(&cursor.trigger, cursor.revision)?;
            triggers::check_cursor(&cursor.trigger, &cursor.value)?;
        }
    }
    Ok(item)
}

fn known(id: &str, revision: u32) -> Result<()> {
    let operation = manifest::operations().find(|operation| operation.id == id);
    let operation =
        operation.ok_or_else(|| Error::field("/operation", "not-found", format!("there is no operation \"{id}\"")))?;
    if (1..=operation.revision).contains(&revision) {
        Ok(())
    } else {
        Err(Error::field(
            "/revision",
            "not-found",
            format!("must be one of the revisions of \"{id}\", 1 to {}", operation.revision),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::exports::workflow::connector::metadata::StoredInput;

    fn input(revision: u32) -> Stored {
        Stored::Input(StoredInput { operation: "get-device".into(), revision, value: "{}".into() })
    }

    #[test]
    fn own_things_pass_and_newer_ones_do_not() {
        assert_eq!(migrate("0.1.0", input(1)), Ok(input(1)));
        assert_eq!(migrate("9.0.0", input(1)).expect_err("newer").code(), ErrorCode::Unsupported);
        assert_eq!(migrate("x", input(1)).expect_err("no version").code(), ErrorCode::InvalidInput);
        assert_eq!(migrate("0.1.0", input(2)).expect_err("no such revision").code(), ErrorCode::InvalidInput);
    }
}
