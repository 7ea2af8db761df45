//! Reads a device twin.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "$odd"}
//! not-found {"deviceId": "missing"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-twin",
        title: "Get a device twin",
        help: "Reads a device's tags, its desired and its reported properties. Needs a hub of the Standard or Free tier.",
        group: "Twins",
        input: &[required("deviceId", fields::device_id)],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: fields::twin_output,
        output_sample: fields::twin_sample,
        dynamic_output: true,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::TWIN_READS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| Ok(session.hub().twin(&input.device()?)?.document),
};
