//! Deletes a device identity.

use serde::Deserialize;
use serde_json::Value;

use super::{Action, removal, typed};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::Result;
use crate::http::IfMatch;
use crate::iothub::DeviceId;
use crate::manifest::schema::literal;
use crate::manifest::{Spec, fields, schema::object};
use crate::session::Session;

/// `delete-device`.
pub struct DeleteDevice;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
    etag: Option<String>,
    if_missing: Option<String>,
}

impl Action for DeleteDevice {
    fn id(&self) -> &'static str {
        "delete-device"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Delete a device",
            help: "Removes a device identity from the hub's registry, with its twin, its modules and the messages that wait for it. \
                   This cannot be undone: to keep a device out for a while, disable it with **Update a device**.",
            group: "Devices",
            input: object(
                [("deviceId", fields::device_id()), ("ifMissing", fields::if_missing()), ("etag", fields::etag())],
                &["deviceId"],
            ),
            output: fields::deleted_output("deviceId", "Device id"),
            input_sample: literal!({ "deviceId": "press-17", "ifMissing": "ignore" }),
            output_sample: literal!({ "deviceId": "press-17", "deleted": true }),
            dynamic_output: false,
            permissions: &[Permission::RegistryWrite],
            limits: &[("Identity operations of an S1 unit", 100, "requests/minute")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Destructive,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        let if_match = IfMatch::from_input(input.etag.as_deref(), "/etag")?;
        let deleted = session.hub().delete_device(&id, &if_match);
        removal::outcome("deviceId", id.as_str(), input.if_missing.as_deref(), deleted)
    }
}
