//! Replaces the tags and desired properties of a device twin.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "tags": {"site": "south"}, "desired": {"intervalSeconds": 60, "$version": 3}}
//! done {"deviceId": "changed-1", "tags": {}, "desired": {"intervalSeconds": 60}} tagged get-twin {"deviceId": "changed-1"}
//! done {"deviceId": "changed-1", "tags": {"site": "south"}, "desired": {}} under hub:PUT /twins/*=503x1
//! precondition-failed {"deviceId": "changed-1", "tags": {}, "desired": {}, "etag": "$stale"}
//! not-found {"deviceId": "missing", "tags": {}, "desired": {}}
//! invalid-input {"deviceId": "changed-1", "tags": {"a.b": 1}, "desired": {}}
//! invalid-input {"deviceId": "changed-1", "tags": {"site": "south"}}
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
        id: "replace-twin",
        title: "Replace a device twin",
        help: "Replaces all tags and all desired properties of a device: what is not named is removed. That cannot be undone; to change single ones use **Update a device twin**. \
               What the device reported stays. The device is notified of the desired properties when it is next connected. Needs a hub of the Standard or Free tier.",
        group: "Twins",
        input: &[required("deviceId", fields::device_id), ALL_TAGS, ALL_DESIRED, ETAG],
        input_sample: r#"{ "deviceId": "press-17", "tags": { "site": "north" }, "desired": { "intervalSeconds": 30 } }"#,
        output: fields::twin_output,
        output_sample: fields::twin_sample,
        dynamic_output: true,
        permissions: &[Permission::ServiceConnect],
        limits: twin::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| twin::write(session, input, Unnamed::Remove),
};
