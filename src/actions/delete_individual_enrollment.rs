//! Deletes an individual enrollment.

use serde::Deserialize;
use serde_json::Value;

use super::{Action, removal, typed};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::dps::RegistrationId;
use crate::error::Result;
use crate::http::IfMatch;
use crate::manifest::schema::literal;
use crate::manifest::{Spec, fields, schema::object};
use crate::session::Session;

/// `delete-individual-enrollment`.
pub struct DeleteIndividualEnrollment;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    registration_id: String,
    etag: Option<String>,
    if_missing: Option<String>,
}

impl Action for DeleteIndividualEnrollment {
    fn id(&self) -> &'static str {
        "delete-individual-enrollment"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Delete an individual enrollment",
            help: "Removes an individual enrollment from the Device Provisioning Service: the device cannot register any more. \
                   A device that has registered stays in its hub; delete it there as well to keep it out.",
            group: "Enrollments",
            input: object(
                [
                    ("registrationId", fields::registration_id()),
                    ("ifMissing", fields::if_missing()),
                    ("etag", fields::etag()),
                ],
                &["registrationId"],
            ),
            output: fields::deleted_output("registrationId", "Registration id"),
            input_sample: literal!({ "registrationId": "press-17", "ifMissing": "ignore" }),
            output_sample: literal!({ "registrationId": "press-17", "deleted": true }),
            dynamic_output: false,
            permissions: &[Permission::EnrollmentWrite],
            limits: &[("Operations of a provisioning service", 1000, "requests/minute")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Destructive,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let input: Input = typed(input)?;
        let id = RegistrationId::parse(&input.registration_id, "/registrationId")?;
        let if_match = IfMatch::from_input(input.etag.as_deref(), "/etag")?;
        let deleted = session.dps()?.delete_enrollment(&id, &if_match);
        removal::outcome("registrationId", id.as_str(), input.if_missing.as_deref(), deleted)
    }
}
