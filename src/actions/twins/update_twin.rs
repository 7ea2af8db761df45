//! Changes a device twin.
//!
//! ```scenario
//! done {"deviceId": "press-1", "tags": {"site": "north", "line": {"name": "A", "rows": [1, 2.5]}}, "desired": {"intervalSeconds": 30}}
//! done {"deviceId": "changed-1", "tags": {"site": "south", "gone": null}, "desired": {"on": true}}
//! done {"deviceId": "changed-1", "desired": {"on": null, "$version": 7}} tagged get-twin {"deviceId": "changed-1"}
//! precondition-failed {"deviceId": "press-1", "tags": {"site": "south"}, "etag": "$stale"}
//! not-found {"deviceId": "missing", "tags": {"site": "south"}}
//! invalid-input {"deviceId": "press-1", "tags": {"a.b": 1}}
//! ```

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::actions::shared::Action;
use crate::actions::shared::change::set;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::{Error, ErrorCode, Result};
use crate::form::schema::literal;
use crate::form::schema::{any_object, object, with};
use crate::form::{Spec, fields, typed};
use crate::http::IfMatch;
use crate::iothub::{DeviceId, TwinPart, check_patch};
use crate::json;
use crate::session::Session;

/// The action.
pub static ACTION: UpdateTwin = UpdateTwin;

pub struct UpdateTwin;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
    etag: Option<String>,
}

impl Action for UpdateTwin {
    fn id(&self) -> &'static str {
        "update-twin"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let patch = |title: &str, text: &str, example: Value| {
            with(any_object(title), json!({ "description": text, "examples": [example] }))
        };
        let spec = Spec {
            id: self.id(),
            title: "Update a device twin",
            help: "Merges changes into a device's tags and desired properties: what is not named stays, and a null removes a key. \
                   The device is notified of changed desired properties when it is next connected. Needs a hub of the Standard or Free tier.",
            group: "Twins",
            input: object(
                [
                    ("deviceId", fields::device_id()),
                    (
                        "tags",
                        patch(
                            "Tags",
                            "What the cloud's side notes about the device, which does not see it.",
                            literal!({ "site": "north", "line": null }),
                        ),
                    ),
                    (
                        "desired",
                        patch(
                            "Desired properties",
                            "How the device should be. `$metadata` and `$version` of a twin that was read are left out.",
                            literal!({ "intervalSeconds": 30 }),
                        ),
                    ),
                    ("etag", fields::etag()),
                ],
                &["deviceId"],
            ),
            output: fields::twin_output(),
            input_sample: literal!({ "deviceId": "press-17", "tags": { "site": "north" }, "desired": { "intervalSeconds": 30 } }),
            output_sample: fields::twin_sample(),
            dynamic_output: true,
            permissions: &[Permission::ServiceConnect],
            limits: &[
                ("Twin updates of an S1 hub", 50, "requests/second"),
                ("Tags", 8 * 1024, "bytes"),
                ("Desired properties", 32 * 1024, "bytes"),
                ("Levels of nesting", 10, "items"),
                ("Length of a key", 1024, "bytes"),
                ("Length of a text", 4096, "bytes"),
            ],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Write,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let mut input = input;
        let (tags, mut desired) = (json::take_members(&mut input, "tags"), json::take_members(&mut input, "desired"));
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        let if_match = IfMatch::from_input(input.etag.as_deref(), "/etag")?;
        // If the input is a twin that was read before, it contains the hub's metadata, which cannot be written.
        for note in ["$metadata", "$version"] {
            desired.remove(note);
        }
        let mut patch = Value::Object(Map::new());
        let mut problems = Vec::new();
        for (part, name, path, members) in [
            (TwinPart::Tags, "/tags", ["tags"].as_slice(), tags),
            (TwinPart::Desired, "/desired", &["properties", "desired"], desired),
        ] {
            if !members.is_empty() {
                let members = Value::Object(members);
                problems.extend(check_patch(part, &members, name));
                set(&mut patch, path, members);
            }
        }
        if !problems.is_empty() {
            return Err(Error::fields(ErrorCode::InvalidInput, "The twin cannot be changed in this way", problems));
        }
        if patch.as_object().is_some_and(Map::is_empty) {
            return Err(Error::field("", "nothing-to-change", "must state at least one change"));
        }
        Ok(Outcome::Done(session.hub().update_twin(&id, patch, &if_match)?.document.to_string()))
    }
}
