//! Reads the state of a registration.
//!
//! ```scenario
//! done {"registrationId": "grouped-1"}
//! done {"registrationId": "loom-1"}
//! not-found {"registrationId": "loom-2"}
//! ```

use serde::Deserialize;
use serde_json::Value;

use crate::actions::shared::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::dps::RegistrationId;
use crate::error::Result;
use crate::form::schema::literal;
use crate::form::{Spec, fields, schema::object, typed};
use crate::session::Session;

pub struct GetRegistrationState;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    registration_id: String,
}

impl Action for GetRegistrationState {
    fn id(&self) -> &'static str {
        "get-registration-state"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Get a registration state",
            help: "Reads how far the registration of a device with the Device Provisioning Service is, and which hub it was assigned to.",
            group: "Registrations",
            input: object([("registrationId", fields::registration_id())], &["registrationId"]),
            output: fields::registration_output(),
            input_sample: literal!({ "registrationId": "press-17" }),
            output_sample: fields::registration_sample(),
            dynamic_output: false,
            permissions: &[Permission::RegistrationStatusRead],
            limits: &[("Operations of a provisioning service", 1000, "requests/minute")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Read,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let input: Input = typed(input)?;
        let id = RegistrationId::parse(&input.registration_id, "/registrationId")?;
        Ok(Outcome::Done(session.dps()?.registration(&id)?.document.to_string()))
    }
}
