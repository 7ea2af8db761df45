//! Deletes any number of device identities.
//!
//! ```scenario
//! done {"ifMissing": "ignore", "devices": [{"deviceId": "bulk-1"}, {"deviceId": "bulk-2"}, {"deviceId": "missing"}]}
//! done {"devices": [{"deviceId": "bulk-3"}, {"deviceId": "missing"}, {"deviceId": "press-1", "etag": "$stale"}]}
//! invalid-input {"devices": [{"deviceId": "a b"}]}
//! ```

use serde_json::json;

use crate::actions::shared::bulk::{self, Bulk, Entry};
use crate::actions::shared::declaration::{Declaration, Field, required};
use crate::actions::shared::identity::text;
use crate::actions::shared::limits;
use crate::actions::shared::removal::{ETAG, IF_MISSING};
use crate::actions::shared::stepped::Stepped;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::ErrorCode;
use crate::form::fields;

const ITEM: &[Field] = &[required("deviceId", fields::device_id), ETAG];

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "delete-devices",
        title: "Delete devices",
        help: "Removes any number of device identities from the hub's registry, with their twins, modules and waiting messages. This cannot be undone. \
               Each device has a result of its own, and the results come page by page.",
        group: "Devices",
        input: &[required("devices", || bulk::devices(ITEM)), IF_MISSING],
        input_sample: r#"{ "devices": [{ "deviceId": "press-17" }, { "deviceId": "press-18" }], "ifMissing": "ignore" }"#,
        output: || bulk::results([]),
        output_sample: bulk::results_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: &[limits::ENTRIES, limits::IDENTITIES],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| bulk::step(session, input, state, &BULK),
};

static BULK: Bulk = Bulk {
    // An id that no path can contain is allowed: only a bulk request can delete such a device.
    judge: |item, at, problems| bulk::judge_etag(item, "etag", at, problems),
    prepare: |_, input, item, _| {
        let mut part = json!({ "id": text(item, "deviceId"), "importMode": "delete" });
        let etag = bulk::etag(item, "etag").filter(|etag| etag != "*");
        let repeatable = etag.is_none() && input.text("ifMissing") == Some("ignore");
        if let Some(etag) = etag {
            part["importMode"] = "deleteIfMatchETag".into();
            part["eTag"] = etag.into();
        }
        let tolerated = (input.text("ifMissing") == Some("ignore")).then_some(ErrorCode::NotFound);
        Ok(Entry { parts: vec![part], repeatable, tolerated, ..Entry::default() })
    },
};
