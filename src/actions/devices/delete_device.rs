//! Deletes a device identity.
//!
//! ```scenario
//! done {"deviceId": "doomed-1", "ifMissing": "ignore"}
//! done {"deviceId": "doomed-1", "ifMissing": "ignore"}
//! done {"deviceId": "doomed-2"} tagged get-device {"deviceId": "doomed-2"}
//! precondition-failed {"deviceId": "press-1", "etag": "$stale"}
//! not-found {"deviceId": "missing"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::{ETAG, IF_MISSING, remove};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::literal;
use crate::iothub::Identity;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "delete-device",
        title: "Delete a device",
        help: "Removes a device identity from the hub's registry, with its twin, its modules and the messages that wait for it. \
               This cannot be undone: to keep a device out for a while, disable it with **Update a device**.",
        group: "Devices",
        input: &[required("deviceId", fields::device_id), IF_MISSING, ETAG],
        input_sample: r#"{ "deviceId": "press-17", "ifMissing": "ignore" }"#,
        output: || fields::deleted_output("deviceId", "Device id"),
        output_sample: || literal!({ "deviceId": "press-17", "deleted": true }),
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: &[limits::IDENTITIES],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        remove(session, input, &["deviceId"], |session, if_match| {
            session.hub().delete_identity(&Identity::of_device(&id), if_match)
        })
    },
};
