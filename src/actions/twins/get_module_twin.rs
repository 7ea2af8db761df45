//! Reads a module twin.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "moduleId": "cooling"}
//! done {"deviceId": "changed-1", "moduleId": "cooling"} under hub:GET /twins/*=503x1
//! not-found {"deviceId": "changed-1", "moduleId": "missing"}
//! not-found {"deviceId": "missing", "moduleId": "cooling"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::actions::shared::twin;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-module-twin",
        title: "Get a module twin",
        help: "Reads the tags, the desired and the reported properties of a device's module. Needs a hub of the Standard or Free tier.",
        group: "Twins",
        input: &[required("deviceId", fields::device_id), required("moduleId", fields::module_id)],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "cooling" }"#,
        output: twin::module_output,
        output_sample: twin::module_sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::TWIN_READS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| Ok(session.hub().twin_of(&input.identity()?)?.document),
};
