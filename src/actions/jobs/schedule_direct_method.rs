//! Schedules a direct method on many devices.
//!
//! ```scenario
//! done {"jobId": "restart", "deviceIds": ["press-1", "offline-1"], "methodName": "reboot", "payload": {"delaySeconds": 5}, "connectTimeoutSeconds": 1}
//! done {"condition": "deviceId = 'press-2'", "methodName": "list", "payload": [1, "two", null]}
//! conflict {"jobId": "restart", "deviceIds": ["press-1"], "methodName": "stop"}
//! invalid-input {"condition": "*", "methodName": "two words"}
//! invalid-input {"methodName": "reboot"}
//! invalid-input {"jobId": "a b", "condition": "*", "methodName": "reboot"}
//! payload-too-large {"condition": "*", "methodName": "reboot", "payload": "$x*131072"}
//! ```

use super::scheduled::{self, CONDITION, DEVICES, NEW_JOB, RUNTIME, START};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::method::{self, CONNECT_TIMEOUT, NAME, PAYLOAD, RESPONSE_TIMEOUT};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "schedule-direct-method",
        title: "Schedule a direct method",
        help: "Creates a job that calls a direct method on many devices, at once or later. The devices are chosen when the job starts; the hub does not call a device again that is offline or fails. \
               Done once the hub has the job; **Wait for a job** waits for its end, and **List a job's results** has the devices' answers. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[CONDITION, DEVICES, NAME, PAYLOAD, START, RUNTIME, RESPONSE_TIMEOUT, CONNECT_TIMEOUT, NEW_JOB],
        input_sample: r#"{ "condition": "tags.site = 'north'", "methodName": "reboot", "startTime": "2026-05-04T22:00:00Z" }"#,
        output: scheduled::output,
        output_sample: scheduled::sample,
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
    run: |session, input, call| scheduled::create(session, input, call, scheduled::method_work(input)?),
};
