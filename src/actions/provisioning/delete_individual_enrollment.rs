//! Deletes an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "doomed-1", "ifMissing": "ignore"}
//! done {"registrationId": "doomed-1", "ifMissing": "ignore"}
//! done {"registrationId": "doomed-2"} tagged get-individual-enrollment {"registrationId": "doomed-2"}
//! precondition-failed {"registrationId": "loom-1", "etag": "$stale"}
//! not-found {"registrationId": "missing"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::{ETAG, IF_MISSING, remove};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
use crate::form::fields;
use crate::form::schema::literal;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "delete-individual-enrollment",
        title: "Delete an individual enrollment",
        help: "Removes an individual enrollment from the Device Provisioning Service: the device cannot register any more. \
               A device that has registered stays in its hub; delete it there as well to keep it out.",
        group: "Enrollments",
        input: &[required("registrationId", fields::registration_id), IF_MISSING, ETAG],
        input_sample: r#"{ "registrationId": "press-17", "ifMissing": "ignore" }"#,
        output: || fields::deleted_output("registrationId", "Registration id"),
        output_sample: || literal!({ "registrationId": "press-17", "deleted": true }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.registration()?;
        remove(session, input, &["registrationId"], |session, if_match| {
            session.dps()?.delete_enrollment(Kind::Individual, &id, if_match)
        })
    },
};
