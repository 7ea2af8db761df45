//! Reads an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "loom-1"}
//! done {"registrationId": "loom-1", "includeKeys": true}
//! done {"registrationId": "made-x509"}
//! not-found {"registrationId": "missing"}
//! ```

use super::enrollment::shown;
use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
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
        let dps = session.dps()?;
        let enrollment = dps.read(Kind::Individual, &id)?.document;
        shown(&dps, Kind::Individual, &id, enrollment, input.flag("includeKeys"))
    },
};
