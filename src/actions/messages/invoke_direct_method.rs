//! Calls a direct method of a device.
//!
//! ```scenario
//! done {"deviceId": "press-1", "methodName": "reboot", "payload": {"delaySeconds": 5}}
//! done {"deviceId": "press-1", "methodName": "list", "payload": [1, "two", null]}
//! done {"deviceId": "press-1", "methodName": "name", "payload": "text", "responseTimeoutSeconds": 10, "connectTimeoutSeconds": 5}
//! done {"deviceId": "press-1", "methodName": "nothing"}
//! device-offline {"deviceId": "offline-1", "methodName": "reboot"}
//! not-found {"deviceId": "missing", "methodName": "reboot"}
//! timeout {"deviceId": "press-1", "methodName": "reboot"} under hub:POST /twins/*=504/504101
//! invalid-input {"deviceId": "press-1", "methodName": "two words"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::method::{self, CONNECT_TIMEOUT, NAME, PAYLOAD, RESPONSE_TIMEOUT};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "invoke-direct-method",
        title: "Invoke a direct method",
        help: "Calls a method on a device and waits for its answer. The device answers with a status of its own, which the workflow has to judge: a status of 500 is no failure of this action. \
               After a timeout the method may have run. Where the workflow's own deadline is nearer than the timeouts, they are shortened. Needs a hub of the Standard or Free tier.",
        group: "Direct methods",
        input: &[required("deviceId", fields::device_id), NAME, PAYLOAD, RESPONSE_TIMEOUT, CONNECT_TIMEOUT],
        input_sample: r#"{ "deviceId": "press-17", "methodName": "reboot", "payload": { "delaySeconds": 5 } }"#,
        output: method::output,
        output_sample: method::output_sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: method::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| method::invoke(session, input),
};
