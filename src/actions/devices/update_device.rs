//! Changes a device identity.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "status": "disabled", "statusReason": "Lost"}
//! done {"deviceId": "changed-1", "status": "enabled", "statusReason": ""}
//! done {"deviceId": "changed-1", "keys": "regenerateSecondary"}
//! done {"deviceId": "changed-1", "keys": "swap"}
//! done {"deviceId": "changed-1", "primaryKey": "$key-1", "edge": true}
//! done {"deviceId": "changed-1", "status": "enabled"} tagged get-device {"deviceId": "changed-1"}
//! done {"deviceId": "made-thumbprint", "secondaryThumbprint": "$thumbprint-2"}
//! precondition-failed {"deviceId": "changed-1", "status": "disabled", "etag": "$stale"}
//! not-found {"deviceId": "missing", "status": "disabled"}
//! invalid-input {"deviceId": "changed-1"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::identity;
use crate::actions::shared::limits;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::{literal, with};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "update-device",
        title: "Update a device",
        help: "Enables or disables a device, changes its keys, its thumbprints or its IoT Edge flag. What is left empty stays as it is. \
               To change keys without an interruption: **regenerate secondary**, give the device the new secondary key, **swap**, then regenerate secondary again. \
               The output has the keys.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            identity::STATUS_CHANGE,
            identity::REASON_CHANGE,
            identity::KEYS_CHANGE,
            identity::PRIMARY_KEY_CHANGE,
            identity::SECONDARY_KEY_CHANGE,
            identity::PRIMARY_THUMBPRINT,
            identity::SECONDARY_THUMBPRINT,
            identity::EDGE_CHANGE,
            ETAG,
        ],
        input_sample: r#"{ "deviceId": "press-17", "status": "disabled", "statusReason": "Lost" }"#,
        output: fields::device_output,
        output_sample: || {
            with(
                fields::device_sample(),
                literal!({ "status": "disabled", "statusReason": "Lost", "statusUpdatedTime": "2026-05-04T07:30:00Z" }),
            )
        },
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::IDENTITIES],
        effect: Effect::Write,
        idempotency: Idempotency::Conditional,
    },
    run: |session, input, _| identity::update(session, input),
};
