//! Changes a module twin.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "moduleId": "cooling", "tags": {"site": "south", "gone": null}, "desired": {"on": true}}
//! done {"deviceId": "changed-1", "moduleId": "cooling", "desired": {"on": null, "$version": 7}} tagged get-module-twin {"deviceId": "changed-1", "moduleId": "cooling"}
//! precondition-failed {"deviceId": "changed-1", "moduleId": "cooling", "tags": {"site": "south"}, "etag": "$stale"}
//! not-found {"deviceId": "changed-1", "moduleId": "missing", "tags": {"site": "south"}}
//! not-found {"deviceId": "missing", "moduleId": "cooling", "tags": {"site": "south"}}
//! invalid-input {"deviceId": "changed-1", "moduleId": "cooling", "tags": {"a.b": 1}}
//! invalid-input {"deviceId": "changed-1", "moduleId": "cooling"}
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
        id: "update-module-twin",
        title: "Update a module twin",
        help: "Merges changes into the tags and desired properties of a device's module: what is not named stays, and a null removes a key. \
               The module is notified of changed desired properties when it is next connected. Needs a hub of the Standard or Free tier.",
        group: "Twins",
        input: &[required("deviceId", fields::device_id), required("moduleId", fields::module_id), TAGS, DESIRED, ETAG],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "cooling", "tags": { "site": "north" }, "desired": { "intervalSeconds": 30 } }"#,
        output: twin::module_output,
        output_sample: twin::module_sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: twin::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| twin::write(session, input, Unnamed::Keep),
};
