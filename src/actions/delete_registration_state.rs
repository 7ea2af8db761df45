//! Deletes the state of a registration.

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

/// `delete-registration-state`.
pub struct DeleteRegistrationState;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    registration_id: String,
    etag: Option<String>,
    if_missing: Option<String>,
}

impl Action for DeleteRegistrationState {
    fn id(&self) -> &'static str {
        "delete-registration-state"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Delete a registration state",
            help: "Makes the Device Provisioning Service forget where a device was assigned: at its next registration it counts as new. \
                   The device stays in its hub, and may register again; to keep it out, disable or delete its enrollment.",
            group: "Registrations",
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
            permissions: &[Permission::RegistrationStatusWrite],
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
        let deleted = session.dps()?.delete_registration(&id, &if_match);
        removal::outcome("registrationId", id.as_str(), input.if_missing.as_deref(), deleted)
    }
}
