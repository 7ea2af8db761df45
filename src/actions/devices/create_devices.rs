//! Creates any number of device identities.
//!
//! ```scenario
//! done {"ifExists": "keep", "devices": [{"deviceId": "bulk-1"}, {"deviceId": "bulk-2", "status": "disabled", "statusReason": "Not installed yet"}]}
//! done {"ifExists": "keep", "devices": [{"deviceId": "bulk-1"}, {"deviceId": "bulk-3", "edge": true}]}
//! done {"devices": [{"deviceId": "bulk-1"}, {"deviceId": "bulk-4", "tags": {"site": "south"}, "desired": {"intervalSeconds": 30}}]}
//! done {"devices": [{"deviceId": "bulk-5", "primaryKey": "$key-1", "secondaryKey": "$key-2"}, {"deviceId": "$odd"}]}
//! done {"devices": [{"deviceId": "bulk-6", "authentication": "selfSigned", "primaryThumbprint": "$thumbprint-1"}, {"deviceId": "bulk-7", "authentication": "certificateAuthority"}]}
//! done {"ifExists": "keep", "devices": [{"deviceId": "bulk-8"}]} under hub:POST /devices=503+1x1
//! invalid-input {"devices": []}
//! invalid-input {"devices": [{"deviceId": "bulk-9"}, {"deviceId": "bulk-9"}]}
//! invalid-input {"devices": [{"deviceId": "bulk-9", "primaryKey": "$key-1"}]}
//! invalid-input {"devices": [{"deviceId": "bulk-9", "tags": {"a.b": 1}}]}
//! ```

use crate::actions::shared::bulk::{self, Bulk, Entry};
use crate::actions::shared::declaration::{Declaration, Field, optional, required};
use crate::actions::shared::stepped::Stepped;
use crate::actions::shared::{identity, limits};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::ErrorCode;
use crate::form::fields;
use crate::form::schema::{any_object, help, literal, string, with};

const ITEM: &[Field] = &[
    required("deviceId", fields::new_device_id),
    identity::STATUS,
    identity::REASON,
    identity::AUTHENTICATION,
    identity::PRIMARY_KEY,
    identity::SECONDARY_KEY,
    identity::PRIMARY_THUMBPRINT,
    identity::SECONDARY_THUMBPRINT,
    identity::EDGE,
    optional("deviceScope", || {
        with(
            help(
                string("Parent's scope"),
                "The scope of the IoT Edge device that becomes the parent: its `deviceScope`.",
            ),
            literal!({ "minLength": 1, "maxLength": 1024, "x-visibility": "advanced" }),
        )
    }),
    optional("tags", || any_object("Tags")),
    optional("desired", || any_object("Desired properties")),
];

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "create-devices",
        title: "Create devices",
        help: "Adds any number of device identities to the hub's registry, with the tags and desired properties of their twins. \
               Each device has a result of its own: one that fails does not keep the others from being created. \
               The results come page by page. If an answer is lost, the result of a device is `unknown`; repeat it with **If it exists**: keep. \
               The keys that the hub makes are not in the output: read them with **Get a device**. Tags and desired properties need a hub of the Standard or Free tier.",
        group: "Devices",
        input: &[required("devices", || bulk::devices(ITEM)), identity::IF_EXISTS],
        input_sample: r#"{ "devices": [{ "deviceId": "press-17", "tags": { "site": "north" } }, { "deviceId": "press-18" }] }"#,
        output: || bulk::results([]),
        output_sample: bulk::results_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: &[limits::ENTRIES, limits::IDENTITIES, ("Devices of a hub", 1_000_000, "items")],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    paged: true,
    step: |session, input, state, _| bulk::step(session, input, state, &BULK),
};

static BULK: Bulk = Bulk {
    judge: |item, at, problems| {
        bulk::judge_id(item, at, problems);
        identity::judge_new(item, at, problems);
        bulk::judge_twin(item, at, problems);
    },
    prepare: |_, input, item, _| {
        let mut part = identity::new_device(item);
        part["id"] = item.get("deviceId").cloned().unwrap_or_default();
        part["importMode"] = "create".into();
        if let Some(scope) = item.get("deviceScope") {
            part["deviceScope"] = scope.clone();
        }
        bulk::add_twin(item, &mut part);
        let keep = input.text("ifExists") == Some("keep");
        let tolerated = keep.then_some(ErrorCode::Conflict);
        Ok(Entry { parts: vec![part], repeatable: keep, tolerated, ..Entry::default() })
    },
};
