//! Replaces the tags and desired properties of a module twin.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "moduleId": "cooling", "tags": {"site": "south"}, "desired": {"on": true}}
//! done {"deviceId": "changed-1", "moduleId": "cooling", "tags": {}, "desired": {}} tagged get-module-twin {"deviceId": "changed-1", "moduleId": "cooling"}
//! precondition-failed {"deviceId": "changed-1", "moduleId": "cooling", "tags": {}, "desired": {}, "etag": "$stale"}
//! not-found {"deviceId": "changed-1", "moduleId": "missing", "tags": {}, "desired": {}}
//! not-found {"deviceId": "missing", "moduleId": "cooling", "tags": {}, "desired": {}}
//! invalid-input {"deviceId": "changed-1", "moduleId": "cooling", "tags": {"a.b": 1}, "desired": {}}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::actions::shared::twin::{self, ALL_DESIRED, ALL_TAGS, Unnamed};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "replace-module-twin",
        title: "Replace a module twin",
        help: "Replaces all tags and all desired properties of a device's module: what is not named is removed. That cannot be undone; to change single ones use **Update a module twin**. \
               What the module reported stays. The module is notified of the desired properties when it is next connected. Needs a hub of the Standard or Free tier.",
        group: "Twins",
        input: &[
            required("deviceId", fields::device_id),
            required("moduleId", fields::module_id),
            ALL_TAGS,
            ALL_DESIRED,
            ETAG,
        ],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "cooling", "tags": { "site": "north" }, "desired": { "intervalSeconds": 30 } }"#,
        output: twin::module_output,
        output_sample: twin::module_sample,
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: twin::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| twin::write(session, input, Unnamed::Remove),
};
