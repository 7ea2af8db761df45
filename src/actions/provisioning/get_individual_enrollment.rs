//! Reads an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "loom-1"}
//! done {"registrationId": "loom-1", "includeKeys": true}
//! done {"registrationId": "made-x509"}
//! not-found {"registrationId": "missing"}
//! ```

use serde_json::Value;

use crate::actions::shared::change::set;
use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::{self, Dps, RegistrationId, has_symmetric_keys};
use crate::error::Result;
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-individual-enrollment",
        title: "Get an individual enrollment",
        help: "Reads an individual enrollment of the Device Provisioning Service. Its symmetric keys are left out unless they are asked for; that needs the permission **Enrollment write** as well. The URL of a custom allocation is shown without its key.",
        group: "Enrollments",
        input: &[required("registrationId", fields::registration_id), optional("includeKeys", fields::include_keys)],
        input_sample: r#"{ "registrationId": "press-17" }"#,
        output: fields::enrollment_output,
        output_sample: fields::enrollment_sample,
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.registration()?;
        let service = session.dps()?;
        let enrollment = service.enrollment(&id)?.document;
        shown(&service, &id, enrollment, input.flag("includeKeys"))
    },
};

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
