//! Changes the symmetric keys of a device or a module.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "rotate": "secondary"}
//! done {"deviceId": "changed-1", "rotate": "primary", "primaryKey": "$key-1"}
//! done {"deviceId": "changed-1", "rotate": "both"}
//! done {"deviceId": "changed-1", "rotate": "swap"} tagged get-device {"deviceId": "changed-1"}
//! done {"deviceId": "changed-1", "rotate": "both"} under hub:PUT /devices/*=drop-afterx1
//! precondition-failed {"deviceId": "changed-1", "rotate": "both", "etag": "$stale"}
//! not-found {"deviceId": "missing", "rotate": "both"}
//! not-found {"deviceId": "changed-1", "moduleId": "missing", "rotate": "both"}
//! invalid-input {"deviceId": "made-thumbprint", "rotate": "both"}
//! invalid-input {"deviceId": "changed-1", "rotate": "secondary", "primaryKey": "$key-1"}
//! invalid-input {"deviceId": "changed-1", "rotate": "both", "primaryKey": "no key"}
//! ```

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::identity::{self, Rotation, set_keys};
use crate::actions::shared::limits;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::settle;
use crate::form::fields;
use crate::form::schema::{help, literal, object, string};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "rotate-device-keys",
        title: "Rotate the keys of a device",
        help: "Gives a device, or one of its modules, new symmetric keys, or swaps its two keys. \
               The connector makes the new keys (32 random bytes each) unless they are given. The output has both keys. \
               A device that uses the old key can no longer connect with it. To change keys without an interruption: rotate the **secondary** key, \
               give it to the device, then **swap**. If an answer is lost, the keys are read again to see whether they were changed.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            optional("moduleId", fields::module_id),
            identity::ROTATE,
            optional("primaryKey", || rotated_key("Primary key")),
            optional("secondaryKey", || rotated_key("Secondary key")),
            ETAG,
        ],
        input_sample: r#"{ "deviceId": "press-17", "rotate": "secondary" }"#,
        output: || {
            object(
                [
                    ("deviceId", string("Device id")),
                    ("moduleId", string("Module id")),
                    ("etag", string("ETag")),
                    ("primaryKey", fields::secret("Primary key")),
                    ("secondaryKey", fields::secret("Secondary key")),
                ],
                &["deviceId", "primaryKey", "secondaryKey"],
            )
        },
        output_sample: || literal!({ "deviceId": "press-17", "etag": "NzA2NzY1ODM4", "primaryKey": "(base64)", "secondaryKey": "(base64)" }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::IDENTITIES],
        effect: Effect::Write,
        idempotency: Idempotency::Conditional,
    },
    run: |session, input, _| {
        let of = input.identity()?;
        let stated = input.stated_if_match()?;
        let rotation = Rotation::of(input);
        let mut problems = Vec::new();
        rotation.judge(input, &mut problems);
        settle(problems)?;
        let at = if of.module.is_some() { "/moduleId" } else { "/deviceId" };
        // The answer may lack the keys, so the output has those that were sent last.
        let sent = RefCell::new(Value::Null);
        let changed = identity::change(session, &of, stated.as_ref(), &|mut identity| {
            set_keys(&mut identity, rotation.keys(input), at, session.platform())?;
            sent.replace(identity.clone());
            Ok(identity)
        })?;
        let mut output = json!({ "deviceId": of.device.as_str() });
        if let Some(module) = &of.module {
            output["moduleId"] = module.as_str().into();
        }
        if let Some(etag) = &changed.etag {
            output["etag"] = etag.as_str().into();
        }
        let sent = sent.into_inner();
        for name in ["primaryKey", "secondaryKey"] {
            output[name] = identity::key_of(&sent, name).into();
        }
        Ok(output)
    },
};

fn rotated_key(title: &str) -> Value {
    help(fields::symmetric_key(title), "Base64, 16 to 64 bytes. Empty: the connector makes one.")
}
