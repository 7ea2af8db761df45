//! Changes a module identity.
//!
//! ```scenario
//! done {"deviceId": "press-1", "moduleId": "made-plain", "managedBy": "operations"}
//! done {"deviceId": "press-1", "moduleId": "made-plain", "keys": "regenerateBoth"}
//! done {"deviceId": "press-1", "moduleId": "made-plain", "keys": "swap"} tagged get-module {"deviceId": "press-1", "moduleId": "made-plain"}
//! done {"deviceId": "press-1", "moduleId": "made-thumbprint", "secondaryThumbprint": "$thumbprint-2"}
//! precondition-failed {"deviceId": "press-1", "moduleId": "made-plain", "keys": "swap", "etag": "$stale"}
//! not-found {"deviceId": "press-1", "moduleId": "missing", "keys": "swap"}
//! invalid-input {"deviceId": "press-1", "moduleId": "made-plain"}
//! invalid-input {"deviceId": "press-1", "moduleId": "made-ca", "keys": "swap"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::identity;
use crate::actions::shared::limits;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "update-module",
        title: "Update a module",
        help: "Changes a module's keys, its thumbprints, or who manages it. What is left empty stays as it is. The output has the keys. \
               The modules `$edgeAgent` and `$edgeHub` belong to IoT Edge and cannot be changed.",
        group: "Modules",
        input: &[
            required("deviceId", fields::device_id),
            required("moduleId", fields::module_id),
            identity::KEYS_CHANGE,
            identity::PRIMARY_KEY_CHANGE,
            identity::SECONDARY_KEY_CHANGE,
            identity::PRIMARY_THUMBPRINT,
            identity::SECONDARY_THUMBPRINT,
            identity::MANAGED_BY,
            ETAG,
        ],
        input_sample: r#"{ "deviceId": "press-17", "moduleId": "vision", "keys": "regenerateSecondary" }"#,
        output: fields::module_output,
        output_sample: fields::module_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::IDENTITIES],
        effect: Effect::Write,
        idempotency: Idempotency::Conditional,
    },
    run: |session, input, _| identity::update(session, input),
};
