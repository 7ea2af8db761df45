//! Deletes an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "doomed-1", "ifMissing": "ignore"}
//! done {"registrationId": "doomed-1", "ifMissing": "ignore"}
//! done {"registrationId": "doomed-2"} tagged get-individual-enrollment {"registrationId": "doomed-2"}
//! precondition-failed {"registrationId": "loom-1", "etag": "$stale"}
//! not-found {"registrationId": "missing"}
//! ```

use crate::actions::shared::removal::Removal;
use crate::auth::Permission;
use crate::dps::RegistrationId;
use crate::form::fields;

pub static DELETE_INDIVIDUAL_ENROLLMENT: Removal<RegistrationId> = Removal {
    id: "delete-individual-enrollment",
    title: "Delete an individual enrollment",
    help: "Removes an individual enrollment from the Device Provisioning Service: the device cannot register any more. \
           A device that has registered stays in its hub; delete it there as well to keep it out.",
    group: "Enrollments",
    field: "registrationId",
    field_title: "Registration id",
    field_schema: fields::registration_id,
    permissions: &[Permission::EnrollmentWrite],
    limits: &[("Operations of a provisioning service", 1000, "requests/minute")],
    read: RegistrationId::parse,
    delete: |session, id, if_match| session.dps()?.delete_enrollment(id, if_match),
};
