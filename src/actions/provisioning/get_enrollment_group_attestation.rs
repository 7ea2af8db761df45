//! Reads the attestation of an enrollment group, including its keys.
//!
//! ```scenario
//! done {"enrollmentGroupId": "looms"}
//! done {"enrollmentGroupId": "made-signed"}
//! not-found {"enrollmentGroupId": "missing"}
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
        id: "get-enrollment-group-attestation",
        title: "Get the attestation of an enrollment group",
        help: "Reads how a device of an enrollment group proves itself to the Device Provisioning Service. Of symmetric keys the output has both: whatever logs or stores it then holds secrets. Of certificates it has the descriptions.",
        group: "Enrollments",
        input: &[required("enrollmentGroupId", fields::enrollment_group_id)],
        input_sample: r#"{ "enrollmentGroupId": "presses" }"#,
        output: fields::attestation_output,
        output_sample: fields::attestation_sample,
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| session.dps()?.attestation(Kind::Group, &input.enrollment_group()?),
};
