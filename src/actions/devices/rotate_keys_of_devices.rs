//! Changes the symmetric keys of any number of devices.
//!
//! ```scenario
//! done {"rotate": "secondary", "devices": [{"deviceId": "press-1"}, {"deviceId": "press-2"}, {"deviceId": "missing"}]}
//! done {"rotate": "both", "devices": [{"deviceId": "changed-1"}, {"deviceId": "bulk-6"}, {"deviceId": "press-1", "etag": "$stale"}]}
//! done {"rotate": "swap", "devices": [{"deviceId": "changed-1"}]}
//! invalid-input {"rotate": "none", "devices": [{"deviceId": "changed-1"}]}
//! ```

use crate::actions::shared::bulk::{self, Bulk};
use crate::actions::shared::declaration::{Declaration, Field, required};
use crate::actions::shared::identity::{Rotation, key_of, set_keys};
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::stepped::Stepped;
use crate::actions::shared::{identity, limits};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::literal;
use crate::json::from_members;

const ITEM: &[Field] = &[required("deviceId", fields::device_id), ETAG];
const KEYS: [(&str, &str); 2] = [("primaryKey", "Primary key"), ("secondaryKey", "Secondary key")];

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "rotate-keys-of-devices",
        title: "Rotate the keys of devices",
        help: "Gives any number of devices new symmetric keys, or swaps their two keys. The connector makes the new keys: 32 random bytes each. \
               The output has both keys of each device; a device with the old key can no longer connect with it. \
               To change keys without an interruption, rotate the key that the devices do not use. \
               Each device has a result of its own, and the results come page by page. If a result is `unknown`, **Get a device** shows its keys.",
        group: "Devices",
        input: &[required("devices", || bulk::devices(ITEM)), identity::ROTATE],
        input_sample: r#"{ "devices": [{ "deviceId": "press-17" }, { "deviceId": "press-18" }], "rotate": "secondary" }"#,
        output: || bulk::results(KEYS.map(|(name, title)| (name, fields::secret(title)))),
        output_sample: || {
            literal!({
                "items": [{ "index": 0, "deviceId": "press-17", "result": "ok", "changed": true, "primaryKey": "(base64)", "secondaryKey": "(base64)" }],
                "failed": 0,
                "unknown": 0
            })
        },
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::ENTRIES, limits::IDENTITIES],
        effect: Effect::Write,
        idempotency: Idempotency::Conditional,
    },
    paged: true,
    step: |session, input, state, _| bulk::step(session, input, state, &BULK),
};

static BULK: Bulk = Bulk {
    judge: |item, at, problems| {
        bulk::judge_id(item, at, problems);
        bulk::judge_etag(item, "etag", at, problems);
    },
    prepare: |session, input, item, at| {
        let mut entry = bulk::changed_identity(session, item, &|mut device| {
            let keys = Rotation::of(input).keys(input);
            set_keys(&mut device, keys, &format!("{at}/deviceId"), session.platform())?;
            Ok(device)
        })?;
        let written = entry.parts.first().or(entry.alone.as_ref());
        entry.shown = from_members(KEYS.iter().filter_map(|(name, _)| Some((*name, key_of(written?, name)?.into()))));
        Ok(entry)
    },
};
