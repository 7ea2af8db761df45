//! Deletes a module identity.
//!
//! ```scenario
//! done {"deviceId": "press-1", "moduleId": "doomed-1", "ifMissing": "ignore"}
//! done {"deviceId": "press-1", "moduleId": "doomed-1", "ifMissing": "ignore"}
//! done {"deviceId": "press-1", "moduleId": "made-keys"} tagged get-module {"deviceId": "press-1", "moduleId": "made-keys"}
//! precondition-failed {"deviceId": "press-1", "moduleId": "made-plain", "etag": "$stale"}
//! not-found {"deviceId": "press-1", "moduleId": "missing"}
//! not-found {"deviceId": "missing", "moduleId": "made-plain"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::{ETAG, IF_MISSING, remove};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::{boolean, literal, object, string};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "delete-module",
        title: "Delete a module",
        help: "Removes a module identity from a device, with its twin. This cannot be undone.",
        group: "Modules",
        input: &[required("deviceId", fields::device_id), required("moduleId", fields::module_id), IF_MISSING, ETAG],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "vision", "ifMissing": "ignore" }"#,
        output: || {
            object(
                [("deviceId", string("Device id")), ("moduleId", string("Module id")), ("deleted", boolean("Deleted"))],
                &["deviceId", "moduleId", "deleted"],
            )
        },
        output_sample: || literal!({ "deviceId": "press-17", "moduleId": "vision", "deleted": true }),
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: &[limits::IDENTITIES],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let of = input.identity()?;
        remove(session, input, &["deviceId", "moduleId"], |session, if_match| {
            session.hub().delete_identity(&of, if_match)
        })
    },
};
