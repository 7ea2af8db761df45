//! Reads an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "loom-1"}
//! done {"registrationId": "loom-1", "includeKeys": true}
//! done {"registrationId": "made-x509"}
//! not-found {"registrationId": "missing"}
//! ```

use serde::Deserialize;
use serde_json::Value;

use crate::actions::shared::Action;
use crate::actions::shared::change::set;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::dps::{self, Dps, RegistrationId, has_symmetric_keys};
use crate::error::Result;
use crate::form::schema::literal;
use crate::form::{Spec, fields, schema::object, typed};
use crate::session::Session;

pub struct GetIndividualEnrollment;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    registration_id: String,
    #[serde(default)]
    include_keys: bool,
}

impl Action for GetIndividualEnrollment {
    fn id(&self) -> &'static str {
        "get-individual-enrollment"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Get an individual enrollment",
            help: "Reads an individual enrollment of the Device Provisioning Service. Its symmetric keys are left out unless they are asked for; that needs the permission **Enrollment write** as well. The URL of a custom allocation is shown without its key.",
            group: "Enrollments",
            input: object(
                [("registrationId", fields::registration_id()), ("includeKeys", fields::include_keys())],
                &["registrationId"],
            ),
            output: fields::enrollment_output(),
            input_sample: literal!({ "registrationId": "press-17" }),
            output_sample: fields::enrollment_sample(),
            dynamic_output: false,
            permissions: &[Permission::EnrollmentRead],
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
        let service = session.dps()?;
        let enrollment = service.enrollment(&id)?.document;
        Ok(Outcome::Done(shown(&service, &id, enrollment, input.include_keys)?.to_string()))
    }
}

/// The enrollment in the form that the output has. Symmetric keys are contained only if `include_keys` is set; they
/// need a separate request. The URL of an allocation function never contains the function's key.
///
/// # Errors
/// The errors of the provisioning service.
pub fn shown(service: &Dps, id: &RegistrationId, mut enrollment: Value, include_keys: bool) -> Result<Value> {
    if include_keys && has_symmetric_keys(&enrollment) {
        set(&mut enrollment, &["attestation"], service.attestation(id)?);
    }
    Ok(dps::shown(enrollment, include_keys))
}
