//! Reads a module identity.
//!
//! ```scenario
//! done {"deviceId": "press-1", "moduleId": "made-plain"}
//! done {"deviceId": "press-1", "moduleId": "made-plain"} under hub:GET /devices/*=503x1
//! done {"deviceId": "$odd", "moduleId": "$odd"}
//! not-found {"deviceId": "press-1", "moduleId": "missing"}
//! not-found {"deviceId": "missing", "moduleId": "made-plain"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-module",
        title: "Get a module",
        help: "Reads a module identity of a device, its keys included.",
        group: "Modules",
        input: &[required("deviceId", fields::device_id), required("moduleId", fields::module_id)],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "vision" }"#,
        output: fields::module_output,
        output_sample: fields::module_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| Ok(session.hub().read_identity(&input.identity()?)?.document),
};
