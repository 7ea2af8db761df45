//! Empties a device's queue of messages.
//!
//! ```scenario
//! done {"deviceId": "press-2"}
//! done {"deviceId": "press-2"}
//! done {"deviceId": "$odd"}
//! not-found {"deviceId": "missing"}
//! ```

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{EffectState, Error, ErrorCode};
use crate::form::fields;
use crate::form::schema::{integer, literal, object, string};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "purge-cloud-to-device-messages",
        title: "Purge cloud-to-device messages",
        help: "Removes all messages that wait for a device. This cannot be undone. A sender that asked for a negative acknowledgement is notified that they were purged. \
               Needs a hub of the Standard or Free tier.",
        group: "Messages",
        input: &[required("deviceId", fields::device_id)],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: || {
            object(
                [
                    ("deviceId", string("Device id")),
                    ("totalMessagesPurged", integer("Messages purged", 0, i64::from(i32::MAX))),
                ],
                &["deviceId", "totalMessagesPurged"],
            )
        },
        output_sample: || literal!({ "deviceId": "press-17", "totalMessagesPurged": 3 }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[("Messages waiting for a device", 50, "messages")],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let answer = session.hub().purge_messages(&id)?;
        let count = answer.get("totalMessagesPurged").and_then(Value::as_u64).ok_or_else(|| {
            Error::new(ErrorCode::Protocol, "The hub's answer does not say how many messages were purged")
                .with_effect(EffectState::Applied)
        })?;
        Ok(json!({ "deviceId": id.as_str(), "totalMessagesPurged": count }))
    },
};
