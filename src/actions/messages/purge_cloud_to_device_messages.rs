//! Empties a device's queue of messages.
//!
//! ```scenario
//! done {"deviceId": "press-2"}
//! done {"deviceId": "press-2"}
//! done {"deviceId": "$odd"}
//! not-found {"deviceId": "missing"}
//! ```

use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::shared::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::schema::{integer, literal, object, string};
use crate::form::{Spec, fields, typed};
use crate::iothub::DeviceId;
use crate::session::Session;

pub struct PurgeCloudToDeviceMessages;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
}

impl Action for PurgeCloudToDeviceMessages {
    fn id(&self) -> &'static str {
        "purge-cloud-to-device-messages"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Purge cloud-to-device messages",
            help: "Removes all messages that wait for a device. This cannot be undone. A sender that asked for a negative acknowledgement is notified that they were purged. \
                   Needs a hub of the Standard or Free tier.",
            group: "Messages",
            input: object([("deviceId", fields::device_id())], &["deviceId"]),
            output: object(
                [
                    ("deviceId", string("Device id")),
                    ("totalMessagesPurged", integer("Messages purged", 0, i64::from(i32::MAX))),
                ],
                &["deviceId", "totalMessagesPurged"],
            ),
            input_sample: literal!({ "deviceId": "press-17" }),
            output_sample: literal!({ "deviceId": "press-17", "totalMessagesPurged": 3 }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[("Messages waiting for a device", 50, "messages")],
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
        let answer = session.hub().purge_messages(&id)?;
        let count = answer.get("totalMessagesPurged").and_then(Value::as_u64).ok_or_else(|| {
            Error::new(ErrorCode::Protocol, "The hub's answer does not say how many messages were purged")
                .with_effect(EffectState::Applied)
        })?;
        Ok(Outcome::Done(json!({ "deviceId": id.as_str(), "totalMessagesPurged": count }).to_string()))
    }
}
