//! Deletes the state of a registration.
//!
//! ```scenario
//! done {"registrationId": "spare-1", "ifMissing": "ignore"}
//! done {"registrationId": "spare-1", "ifMissing": "ignore"}
//! done {"registrationId": "spare-2"} tagged get-registration-state {"registrationId": "spare-2"}
//! precondition-failed {"registrationId": "grouped-1", "etag": "$stale"}
//! not-found {"registrationId": "missing"}
//! ```

use crate::actions::shared::removal::Removal;
use crate::auth::Permission;
use crate::dps::RegistrationId;
use crate::form::fields;

pub static DELETE_REGISTRATION_STATE: Removal<RegistrationId> = Removal {
    id: "delete-registration-state",
    title: "Delete a registration state",
    help: "Makes the Device Provisioning Service forget where a device was assigned: at its next registration it counts as new. \
           The device stays in its hub, and may register again; to keep it out, disable or delete its enrollment.",
    group: "Registrations",
    field: "registrationId",
    field_title: "Registration id",
    field_schema: fields::registration_id,
    permissions: &[Permission::RegistrationStatusWrite],
    limits: &[("Operations of a provisioning service", 1000, "requests/minute")],
    read: RegistrationId::parse,
    delete: |session, id, if_match| session.dps()?.delete_registration(id, if_match),
};
