//! Calls a direct method on many devices, and waits for all answers.
//!
//! ```scenario
//! done {"jobId": "awaited", "deviceIds": ["press-1", "press-2", "offline-1"], "methodName": "reboot", "payload": {"delaySeconds": 5}}
//! done {"condition": "deviceId = 'press-1'", "methodName": "list", "responseTimeoutSeconds": 10, "timeoutSeconds": 60}
//! conflict {"jobId": "by-query", "condition": "*", "methodName": "stop"}
//! invalid-input {"condition": "*", "methodName": "two words"}
//! invalid-input {"methodName": "reboot"}
//! ```

use super::scheduled::{self, CONDITION, DEVICES, NEW_JOB, RUNTIME};
use super::waiting::TIMEOUT;
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::method::{self, CONNECT_TIMEOUT, NAME, PAYLOAD, RESPONSE_TIMEOUT};
use crate::actions::shared::stepped::Stepped;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "invoke-method-by-query",
        title: "Invoke a method by query",
        help: "Calls a direct method on many devices and waits for the end. The hub does it as a job, and does not call a device again that is offline or fails. \
               The output counts the devices and lists those that failed, so the workflow has to judge it: a failed device is no failure of this action. **List a job's results** has the devices' answers. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[CONDITION, DEVICES, NAME, PAYLOAD, TIMEOUT, RUNTIME, RESPONSE_TIMEOUT, CONNECT_TIMEOUT, NEW_JOB],
        input_sample: r#"{ "condition": "tags.site = 'north'", "methodName": "reboot" }"#,
        output: scheduled::ended_output,
        output_sample: scheduled::ended_sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[
            method::PAYLOAD_LIMIT,
            limits::JOBS,
            ("Jobs that run at a time on an S1 hub", 1, "jobs"),
            ("Devices of a job per second, S1 hub", 10, "devices"),
        ],
        effect: Effect::Write,
        idempotency: Idempotency::Keyed,
    },
    paged: false,
    step: |session, input, state, call| scheduled::run_to_end(session, input, state, call, scheduled::method_work),
};
