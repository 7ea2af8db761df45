//! Deletes the state of a registration.
//!
//! ```scenario
//! done {"registrationId": "spare-1", "ifMissing": "ignore"}
//! done {"registrationId": "spare-1", "ifMissing": "ignore"}
//! done {"registrationId": "spare-2"} tagged get-registration-state {"registrationId": "spare-2"}
//! precondition-failed {"registrationId": "grouped-1", "etag": "$stale"}
//! not-found {"registrationId": "missing"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::{ETAG, IF_MISSING, remove};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::literal;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "delete-registration-state",
        title: "Delete a registration state",
        help: "Makes the Device Provisioning Service forget where a device was assigned: at its next registration it counts as new. \
               The device stays in its hub, and may register again; to keep it out, disable or delete its enrollment.",
        group: "Registrations",
        input: &[required("registrationId", fields::registration_id), IF_MISSING, ETAG],
        input_sample: r#"{ "registrationId": "press-17", "ifMissing": "ignore" }"#,
        output: || fields::deleted_output("registrationId", "Registration id"),
        output_sample: || literal!({ "registrationId": "press-17", "deleted": true }),
        dynamic_output: false,
        permissions: &[Permission::RegistrationStatusWrite],
        limits: &[limits::PROVISIONING],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.registration()?;
        remove(session, input, &["registrationId"], |session, if_match| {
            session.dps()?.delete_registration(&id, if_match)
        })
    },
};
