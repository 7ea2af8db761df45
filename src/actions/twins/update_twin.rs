//! Changes a device twin.
//!
//! ```scenario
//! done {"deviceId": "press-1", "tags": {"site": "north", "line": {"name": "A", "rows": [1, 2.5]}}, "desired": {"intervalSeconds": 30}}
//! done {"deviceId": "changed-1", "tags": {"site": "south", "gone": null}, "desired": {"on": true}}
//! done {"deviceId": "changed-1", "desired": {"on": null, "$version": 7}} tagged get-twin {"deviceId": "changed-1"}
//! precondition-failed {"deviceId": "press-1", "tags": {"site": "south"}, "etag": "$stale"}
//! not-found {"deviceId": "missing", "tags": {"site": "south"}}
//! invalid-input {"deviceId": "press-1", "tags": {"a.b": 1}}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::actions::shared::twin::{self, DESIRED, TAGS, Unnamed};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "update-twin",
        title: "Update a device twin",
        help: "Merges changes into a device's tags and desired properties: what is not named stays, and a null removes a key. \
               The device is notified of changed desired properties when it is next connected. Needs a hub of the Standard or Free tier.",
        group: "Twins",
        input: &[required("deviceId", fields::device_id), TAGS, DESIRED, ETAG],
        input_sample: r#"{ "deviceId": "press-17", "tags": { "site": "north" }, "desired": { "intervalSeconds": 30 } }"#,
        output: fields::twin_output,
        output_sample: fields::twin_sample,
        dynamic_output: true,
        permissions: &[Permission::ServiceConnect],
        limits: twin::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| twin::write(session, input, Unnamed::Keep),
};
