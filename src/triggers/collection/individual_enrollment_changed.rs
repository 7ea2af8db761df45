//! An individual enrollment was created, changed or deleted.
//!
//! ```scenario
//! config {}
//! change create-or-update-individual-enrollment {"registrationId": "loom-new", "attestation": {"type": "symmetricKey"}}
//! change create-or-update-individual-enrollment {"registrationId": "loom-2", "provisioningStatus": "disabled"}
//! change delete-individual-enrollment {"registrationId": "loom-3"}
//! expect created updated deleted
//! ```

use std::time::Duration;

use serde_json::json;

use super::engine::changes_field;
use super::engine::polled::Polled;
use super::enrollments::{Enrollments, pattern};
use crate::auth::Permission;
use crate::dps::Kind;
use crate::form::schema::{help, object, one_of, string};
use crate::form::{fields, limits};
use crate::triggers::shared::declaration::{Declaration, optional};

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "individual-enrollment-changed",
        title: "Individual enrollment changed",
        help: "Fires when an individual enrollment of the Device Provisioning Service is created, changed or deleted. \
               The service keeps no log of changes: between two polls only the last of several changes to one enrollment is seen.",
        group: "Enrollments",
        config: &[optional("changes", changes_field), optional("registrationIds", || pattern("Registration ids"))],
        config_sample: r#"{ "changes": ["created", "deleted"], "registrationIds": "press-*" }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("registrationId", string("Registration id")),
                    (
                        "enrollment",
                        help(
                            fields::enrollment_output(),
                            "The enrollment as it is now; absent when it was deleted. Keys are left out, also that in the URL of a custom allocation.",
                        ),
                    ),
                ],
                &["change", "registrationId"],
            )
        },
        output_sample: || json!({ "change": "created", "registrationId": "press-17", "enrollment": fields::enrollment_sample() }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING, limits::RECORDS],
    },
    interval: Duration::from_secs(30),
    min_interval: Duration::from_secs(5),
    open: |session, config| Enrollments::open(session, config, Kind::Individual, "registrationIds"),
};
