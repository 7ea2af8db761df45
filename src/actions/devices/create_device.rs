//! Creates a device identity.
//!
//! ```scenario
//! done {"deviceId": "made-plain", "ifExists": "keep"}
//! done {"deviceId": "made-plain", "ifExists": "keep"}
//! conflict {"deviceId": "made-plain"}
//! done {"deviceId": "made-keys", "primaryKey": "$key-1", "secondaryKey": "$key-2"}
//! done {"deviceId": "made-thumbprint", "authentication": "selfSigned", "primaryThumbprint": "$thumbprint-1"}
//! done {"deviceId": "made-thumbprints", "authentication": "selfSigned", "primaryThumbprint": "$thumbprint-1", "secondaryThumbprint": "$thumbprint-2"}
//! done {"deviceId": "made-ca", "authentication": "certificateAuthority"}
//! done {"deviceId": "made-edge", "edge": true, "status": "disabled", "statusReason": "Not installed yet"}
//! done {"deviceId": "$odd"}
//! invalid-input {"deviceId": "made-bad", "primaryKey": "no key", "secondaryKey": "no key"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::identity;
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::settle;
use crate::form::fields;
use crate::iothub::Identity;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-device",
        title: "Create a device",
        help: "Adds a device identity to the hub's registry. With symmetric keys and none given, the hub makes them; the output has them.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            identity::STATUS,
            identity::REASON,
            identity::AUTHENTICATION,
            identity::PRIMARY_KEY,
            identity::SECONDARY_KEY,
            identity::PRIMARY_THUMBPRINT,
            identity::SECONDARY_THUMBPRINT,
            identity::EDGE,
            identity::IF_EXISTS,
        ],
        input_sample: r#"{ "deviceId": "press-17", "authentication": "sas" }"#,
        output: fields::device_output,
        output_sample: fields::device_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::IDENTITIES, ("Devices of a hub", 1_000_000, "items")],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let mut problems = Vec::new();
        identity::judge_new(input.document(), "", &mut problems);
        settle(problems)?;
        let mut device = identity::new_device(input.document());
        device["deviceId"] = id.as_str().into();
        let keep = input.text("ifExists") == Some("keep");
        identity::create(session, &Identity::of_device(&id), device, keep)
    },
};
