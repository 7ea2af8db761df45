//! Deletes an enrollment group.
//!
//! ```scenario
//! done {"enrollmentGroupId": "doomed-1", "ifMissing": "ignore"}
//! done {"enrollmentGroupId": "doomed-1", "ifMissing": "ignore"}
//! done {"enrollmentGroupId": "made-ca"} tagged get-enrollment-group {"enrollmentGroupId": "made-ca"}
//! precondition-failed {"enrollmentGroupId": "looms", "etag": "$stale"}
//! not-found {"enrollmentGroupId": "missing"}
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
        id: "delete-enrollment-group",
        title: "Delete an enrollment group",
        help: "Removes an enrollment group from the Device Provisioning Service, with its registration states: its devices cannot register any more. Its keys are lost. \
               Devices that have registered stay in their hubs; delete them there as well to keep them out.",
        group: "Enrollments",
        input: &[required("enrollmentGroupId", fields::enrollment_group_id), IF_MISSING, ETAG],
        input_sample: r#"{ "enrollmentGroupId": "presses", "ifMissing": "ignore" }"#,
        output: || fields::deleted_output("enrollmentGroupId", "Enrollment group id"),
        output_sample: || literal!({ "enrollmentGroupId": "presses", "deleted": true }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.enrollment_group()?;
        remove(session, input, &["enrollmentGroupId"], |session, if_match| {
            session.dps()?.delete_enrollment(Kind::Group, &id, if_match)
        })
    },
};
