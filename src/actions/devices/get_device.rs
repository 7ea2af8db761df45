//! Reads a device identity.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "press-1"} under hub:GET /devices/*=503x1
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
        id: "get-device",
        title: "Get a device",
        help: "Reads a device identity from the hub's registry, its keys included. For tags and properties use **Get a device twin**.",
        group: "Devices",
        input: &[required("deviceId", fields::device_id)],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: fields::device_output,
        output_sample: fields::device_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| Ok(session.hub().device(&input.device()?)?.document),
};
