//! Calls a command of a digital twin.
//!
//! ```scenario
//! done {"deviceId": "press-1", "commandName": "reboot", "payload": {"delaySeconds": 5}}
//! done {"deviceId": "press-1", "commandName": "reboot", "responseTimeoutSeconds": 10, "connectTimeoutSeconds": 5}
//! device-offline {"deviceId": "offline-1", "commandName": "reboot"}
//! not-found {"deviceId": "missing", "commandName": "reboot"}
//! timeout {"deviceId": "press-1", "commandName": "reboot"} under hub:POST /digitaltwins/*=504/504101
//! invalid-input {"deviceId": "press-1", "commandName": "two words"}
//! ```

use super::shared;
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::literal;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "invoke-digital-twin-command",
        title: "Invoke a digital twin command",
        help: "Calls a command of a device, as its IoT Plug and Play model names it, and waits for the answer. \
               The device answers with a status of its own, which the workflow has to judge: a status of 500 is no failure of this action. After a timeout the command may have run. \
               Where the workflow's own deadline is nearer than the timeouts, they are shortened. Needs a hub of the Standard or Free tier.",
        group: "Digital twins",
        input: &[
            required("deviceId", fields::device_id),
            required("commandName", shared::command),
            shared::PAYLOAD,
            shared::RESPONSE,
            shared::CONNECT,
        ],
        input_sample: r#"{ "deviceId": "press-17", "commandName": "reboot", "payload": { "delaySeconds": 5 } }"#,
        output: shared::command_output,
        output_sample: || literal!({ "status": 200, "payload": { "result": "rebooting" } }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[("Payload", shared::LARGEST_PAYLOAD as u64, "bytes"), limits::METHODS],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| shared::invoke(session, input, None),
};
