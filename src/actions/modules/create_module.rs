//! Creates a module identity.
//!
//! ```scenario
//! done {"deviceId": "press-1", "moduleId": "made-plain", "ifExists": "keep"}
//! done {"deviceId": "press-1", "moduleId": "made-plain", "ifExists": "keep"}
//! conflict {"deviceId": "press-1", "moduleId": "made-plain"}
//! done {"deviceId": "press-1", "moduleId": "made-keys", "primaryKey": "$key-1", "secondaryKey": "$key-2", "managedBy": "operations"}
//! done {"deviceId": "press-1", "moduleId": "made-thumbprint", "authentication": "selfSigned", "primaryThumbprint": "$thumbprint-1"}
//! done {"deviceId": "press-1", "moduleId": "made-ca", "authentication": "certificateAuthority"}
//! done {"deviceId": "$odd", "moduleId": "$odd"}
//! not-found {"deviceId": "missing", "moduleId": "made-plain"}
//! invalid-input {"deviceId": "press-1", "moduleId": "made-bad", "primaryKey": "no key", "secondaryKey": "no key"}
//! ```

use serde_json::json;

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
        id: "create-module",
        title: "Create a module",
        help: "Adds a module identity to a device: a part of the device with a connection, keys and a twin of its own. \
               With symmetric keys and none given, the hub makes them; the output has them. A device has at most 50 modules. Needs a hub of the Standard or Free tier.",
        group: "Modules",
        input: &[
            required("deviceId", fields::device_id),
            required("moduleId", fields::new_module_id),
            identity::AUTHENTICATION,
            identity::PRIMARY_KEY,
            identity::SECONDARY_KEY,
            identity::PRIMARY_THUMBPRINT,
            identity::SECONDARY_THUMBPRINT,
            identity::MANAGED_BY,
            identity::IF_EXISTS,
        ],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "vision" }"#,
        output: fields::module_output,
        output_sample: fields::module_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::IDENTITIES, limits::MODULES],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| {
        let (device, module) = (input.device()?, input.module()?);
        let given = input.document();
        let mut problems = Vec::new();
        identity::judge_new(given, "", &mut problems);
        settle(problems)?;
        let mut new = json!({
            "deviceId": device.as_str(),
            "moduleId": module.as_str(),
            "authentication": identity::authentication(given),
        });
        if let Some(manager) = given.get("managedBy") {
            new["managedBy"] = manager.clone();
        }
        let of = Identity { device, module: Some(module) };
        identity::create(session, &of, new, input.text("ifExists") == Some("keep"))
    },
};
