//! Changes any number of device identities and twins.
//!
//! ```scenario
//! done {"devices": [{"deviceId": "press-1", "status": "enabled"}, {"deviceId": "press-2", "tags": {"site": "north"}}, {"deviceId": "missing", "status": "disabled"}, {"deviceId": "missing-2", "tags": {"site": "south"}}]}
//! done {"devices": [{"deviceId": "changed-1", "statusReason": "Checked", "keys": "swap", "desired": {"on": true}}]}
//! done {"devices": [{"deviceId": "changed-1", "status": "disabled", "etag": "$stale"}, {"deviceId": "press-1", "tags": {"site": "north"}, "twinEtag": "$stale"}]}
//! invalid-input {"devices": [{"deviceId": "press-1"}]}
//! invalid-input {"devices": [{"deviceId": "press-1", "tags": {"site": "north"}, "etag": "$stale"}]}
//! ```

use serde_json::json;

use crate::actions::shared::bulk::{self, Bulk, Entry};
use crate::actions::shared::declaration::{Declaration, Field, optional, required};
use crate::actions::shared::identity::text;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::stepped::Stepped;
use crate::actions::shared::{identity, limits};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::problem;
use crate::form::fields;
use crate::form::schema::any_object;

const ITEM: &[Field] = &[
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
    optional("tags", || any_object("Tags")),
    optional("desired", || any_object("Desired properties")),
    optional("twinEtag", fields::etag),
];

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "update-devices",
        title: "Update devices",
        help: "Changes any number of devices: the identity (status, keys, thumbprints, IoT Edge flag), and tags and desired properties of the twin, \
               into which changes are merged (a null removes a key). What is left empty stays as it is. \
               Each device has a result of its own, and the results come page by page. \
               A device whose identity is changed is read first. Tags and desired properties need a hub of the Standard or Free tier.",
        group: "Devices",
        input: &[required("devices", || bulk::devices(ITEM))],
        input_sample: r#"{ "devices": [{ "deviceId": "press-17", "status": "disabled" }, { "deviceId": "press-18", "tags": { "site": "north" } }] }"#,
        output: || bulk::results([]),
        output_sample: bulk::results_sample,
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
        let before = problems.len();
        bulk::judge_id(item, at, problems);
        identity::judge_change(item, at, problems);
        bulk::judge_twin(item, at, problems);
        let (identity, twin) = (identity::is_change(item), item.get("tags").or(item.get("desired")).is_some());
        for (name, changes, what) in [("etag", identity, "identity"), ("twinEtag", twin, "twin")] {
            bulk::judge_etag(item, name, at, problems);
            if item.get(name).is_some() && !changes {
                let message = format!("belongs to a change of the {what}, and the item has none");
                problems.push(problem(&format!("{at}/{name}"), "not-allowed", message));
            }
        }
        if problems.len() == before && !identity && !twin {
            problems.push(identity::nothing_to_change(at));
        }
    },
    prepare: |session, _, item, at| {
        let mut entry = if identity::is_change(item) {
            bulk::changed_identity(session, item, &|device| identity::edit(item, at, device, session.platform()))?
        } else {
            Entry::default()
        };
        let etag = bulk::etag(item, "twinEtag").filter(|etag| etag != "*");
        let mode = if etag.is_some() { "updateTwinIfMatchETag" } else { "updateTwin" };
        let mut twin = json!({ "id": text(item, "deviceId"), "importMode": mode });
        if bulk::add_twin(item, &mut twin) {
            entry.repeatable = etag.is_none() && !entry.was_read;
            if let Some(etag) = etag {
                twin["twinETag"] = etag.into();
            }
            entry.parts.push(twin);
        }
        Ok(entry)
    },
};
