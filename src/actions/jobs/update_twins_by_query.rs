//! Changes many twins, and waits until all are changed.
//!
//! ```scenario
//! done {"deviceIds": ["changed-1", "press-5"], "tags": {"site": "north", "gone": null}}
//! done {"jobId": "by-query", "condition": "deviceId = 'changed-1'", "desired": {"on": true}, "timeoutSeconds": 60}
//! done {"jobId": "by-query", "condition": "deviceId = 'changed-1'", "desired": {"on": true}, "timeoutSeconds": 60}
//! done {"condition": "deviceId = 'changed-1'", "desired": {"on": true}} under hub:GET /jobs/v2/*=503x1
//! conflict {"jobId": "by-query", "condition": "*", "desired": {"on": false}}
//! invalid-input {"tags": {"site": "north"}}
//! invalid-input {"condition": "*", "tags": {}}
//! ```

use super::scheduled::{self, CONDITION, DEVICES, NEW_JOB, RUNTIME};
use super::waiting::TIMEOUT;
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::stepped::Stepped;
use crate::actions::shared::twin::{DESIRED, TAGS};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "update-twins-by-query",
        title: "Update twins by query",
        help: "Merges changes into the twins of many devices and waits for the end: what is not named stays, and a null removes a key. The hub does it as a job. \
               The output counts the devices and lists those that failed, so the workflow has to judge it: a failed device is no failure of this action. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[CONDITION, DEVICES, TAGS, DESIRED, TIMEOUT, RUNTIME, NEW_JOB],
        input_sample: r#"{ "condition": "tags.site = 'north'", "desired": { "intervalSeconds": 30 } }"#,
        output: scheduled::ended_output,
        output_sample: scheduled::ended_sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[
            limits::TWIN_UPDATES,
            limits::JOBS,
            ("Jobs that run at a time on an S1 hub", 1, "jobs"),
            ("Devices of a job per second, S1 hub", 10, "devices"),
        ],
        effect: Effect::Write,
        idempotency: Idempotency::Keyed,
    },
    paged: false,
    step: |session, input, state, call| scheduled::run_to_end(session, input, state, call, scheduled::twin_work),
};
