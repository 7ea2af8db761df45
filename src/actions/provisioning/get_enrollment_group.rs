//! Reads an enrollment group.
//!
//! ```scenario
//! done {"enrollmentGroupId": "looms"}
//! done {"enrollmentGroupId": "looms", "includeKeys": true}
//! done {"enrollmentGroupId": "made-signed"}
//! not-found {"enrollmentGroupId": "missing"}
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
        id: "get-enrollment-group",
        title: "Get an enrollment group",
        help: "Reads an enrollment group of the Device Provisioning Service. Its symmetric keys are left out unless they are asked for; that needs the permission **Enrollment write** as well. The URL of a custom allocation is shown without its key.",
        group: "Enrollments",
        input: &[
            required("enrollmentGroupId", fields::enrollment_group_id),
            optional("includeKeys", fields::include_keys),
        ],
        input_sample: r#"{ "enrollmentGroupId": "presses" }"#,
        output: fields::enrollment_group_output,
        output_sample: fields::enrollment_group_sample,
        dynamic_output: false,
        permissions: &[Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.enrollment_group()?;
        let dps = session.dps()?;
        let group = dps.read(Kind::Group, &id)?.document;
        shown(&dps, Kind::Group, &id, group, input.flag("includeKeys"))
    },
};
