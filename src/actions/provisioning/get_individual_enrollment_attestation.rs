//! Reads the attestation of an individual enrollment, including its keys.
//!
//! ```scenario
//! done {"registrationId": "loom-1"}
//! done {"registrationId": "made-x509"}
//! not-found {"registrationId": "missing"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-individual-enrollment-attestation",
        title: "Get the attestation of an individual enrollment",
        help: "Reads how the device of an individual enrollment proves itself to the Device Provisioning Service. Of symmetric keys the output has both: whatever logs or stores it then holds secrets. Of certificates it has the descriptions.",
        group: "Enrollments",
        input: &[required("registrationId", fields::registration_id)],
        input_sample: r#"{ "registrationId": "press-17" }"#,
        output: fields::attestation_output,
        output_sample: fields::attestation_sample,
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| session.dps()?.attestation(Kind::Individual, &input.registration()?),
};
