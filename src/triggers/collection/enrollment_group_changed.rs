//! An enrollment group was created, changed or deleted.
//!
//! ```scenario
//! given create-or-update-enrollment-group {"enrollmentGroupId": "weavers-1", "attestation": {"type": "symmetricKey"}}
//! given create-or-update-enrollment-group {"enrollmentGroupId": "weavers-2", "attestation": {"type": "symmetricKey"}}
//! given create-or-update-enrollment-group {"enrollmentGroupId": "weavers-3", "attestation": {"type": "symmetricKey"}}
//! config {"enrollmentGroupIds": "weavers-*"}
//! change create-or-update-enrollment-group {"enrollmentGroupId": "weavers-new", "attestation": {"type": "symmetricKey"}}
//! change create-or-update-enrollment-group {"enrollmentGroupId": "weavers-2", "provisioningStatus": "disabled"}
//! change delete-enrollment-group {"enrollmentGroupId": "weavers-3"}
//! change create-or-update-enrollment-group {"enrollmentGroupId": "spinners-1", "attestation": {"type": "symmetricKey"}}
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
        id: "enrollment-group-changed",
        title: "Enrollment group changed",
        help: "Fires when an enrollment group of the Device Provisioning Service is created, changed or deleted. \
               The service keeps no log of changes: between two polls only the last of several changes to one group is seen.",
        group: "Enrollments",
        config: &[
            optional("changes", changes_field),
            optional("enrollmentGroupIds", || pattern("Enrollment group ids")),
        ],
        config_sample: r#"{ "changes": ["created", "deleted"], "enrollmentGroupIds": "press*" }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("enrollmentGroupId", string("Enrollment group id")),
                    (
                        "enrollmentGroup",
                        help(
                            fields::enrollment_group_output(),
                            "The group as it is now; absent when it was deleted. Keys are left out, also that in the URL of a custom allocation.",
                        ),
                    ),
                ],
                &["change", "enrollmentGroupId"],
            )
        },
        output_sample: || json!({ "change": "created", "enrollmentGroupId": "presses", "enrollmentGroup": fields::enrollment_group_sample() }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING, limits::ENROLLMENT_GROUPS],
    },
    interval: Duration::from_secs(30),
    min_interval: Duration::from_secs(5),
    open: |session, config| Enrollments::open(session, config, Kind::Group, "enrollmentGroupIds"),
};
