//! Schedules a change of many twins.
//!
//! ```scenario
//! done {"jobId": "nightly", "deviceIds": ["changed-1", "$odd"], "tags": {"site": "west", "gone": null}, "desired": {"intervalSeconds": 30, "$version": 2}, "maxExecutionTimeSeconds": 60}
//! done {"jobId": "someday", "condition": "*", "tags": {"site": "east"}, "startTime": "2099-01-01T00:00:00+01:00"}
//! done {"condition": "deviceId = 'missing'", "desired": {"on": true}} under hub:PUT /jobs/v2/*=503x1
//! done {"jobId": "lost", "condition": "deviceId = 'missing'", "desired": {"on": true}} under hub:PUT /jobs/v2/*=drop-afterx1
//! conflict {"jobId": "nightly", "deviceIds": ["changed-1"], "tags": {"site": "west"}}
//! invalid-input {"tags": {"site": "west"}}
//! invalid-input {"condition": "*", "deviceIds": ["changed-1"], "tags": {"site": "west"}}
//! invalid-input {"condition": "*"}
//! invalid-input {"condition": "*", "tags": {"a.b": 1}}
//! invalid-input {"condition": "*", "tags": {"a": 1}, "startTime": "tomorrow"}
//! invalid-input {"jobId": "query", "condition": "*", "tags": {"a": 1}}
//! invalid-input {"condition": "tags.site = = 1", "tags": {"a": 1}}
//! ```

use super::scheduled::{self, CONDITION, DEVICES, NEW_JOB, RUNTIME, START};
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::actions::shared::twin::{DESIRED, TAGS};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "schedule-twin-update",
        title: "Schedule a twin update",
        help: "Creates a job that merges changes into the twins of many devices, at once or later: what is not named stays, and a null removes a key. The devices are chosen when the job starts. \
               Done once the hub has the job; **Wait for a job** waits for its end, and **Cancel a job** stops it. What the job changed by then stays. Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        input: &[CONDITION, DEVICES, TAGS, DESIRED, START, RUNTIME, NEW_JOB],
        input_sample: r#"{ "condition": "tags.site = 'north'", "desired": { "intervalSeconds": 30 }, "startTime": "2026-05-04T22:00:00Z" }"#,
        output: scheduled::output,
        output_sample: scheduled::sample,
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
    run: |session, input, call| scheduled::create(session, input, call, scheduled::twin_work(input)?),
};
