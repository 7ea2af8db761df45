//! Calls a direct method of a device.
//!
//! ```scenario
//! done {"deviceId": "press-1", "methodName": "reboot", "payload": {"delaySeconds": 5}}
//! done {"deviceId": "press-1", "methodName": "list", "payload": [1, "two", null]}
//! done {"deviceId": "press-1", "methodName": "name", "payload": "text", "responseTimeoutSeconds": 10, "connectTimeoutSeconds": 5}
//! done {"deviceId": "press-1", "methodName": "nothing"}
//! device-offline {"deviceId": "offline-1", "methodName": "reboot"}
//! not-found {"deviceId": "missing", "methodName": "reboot"}
//! timeout {"deviceId": "press-1", "methodName": "reboot"} under hub:POST /twins/*=504/504101
//! invalid-input {"deviceId": "press-1", "methodName": "two words"}
//! ```

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::shared::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::schema::literal;
use crate::form::schema::{any, help, integer, object, open_object, string, with};
use crate::form::{Spec, fields, typed};
use crate::iothub::DeviceId;
use crate::json;
use crate::session::Session;

/// The action.
pub static ACTION: InvokeDirectMethod = InvokeDirectMethod;

pub struct InvokeDirectMethod;

/// The largest payload, in bytes.
const LARGEST_PAYLOAD: usize = 128 * 1024;
/// The response timeout if the input states none, in seconds.
const USUAL_RESPONSE: u64 = 30;
/// The shortest response timeout that the hub accepts.
const LEAST_RESPONSE: Duration = Duration::from_secs(5);
/// The part of the remaining time that is kept free for the network between the connector and the hub.
const WAY: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
    method_name: String,
    response_timeout_seconds: Option<u64>,
    connect_timeout_seconds: Option<u64>,
}

impl Action for InvokeDirectMethod {
    fn id(&self) -> &'static str {
        "invoke-direct-method"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Invoke a direct method",
            help: "Calls a method on a device and waits for its answer. The device answers with a status of its own, which the workflow has to judge: a status of 500 is no failure of this action. \
                   After a timeout the method may have run. Where the workflow's own deadline is nearer than the timeouts, they are shortened. Needs a hub of the Standard or Free tier.",
            group: "Direct methods",
            input: object(
                [
                    ("deviceId", fields::device_id()),
                    (
                        "methodName",
                        with(
                            string("Method"),
                            literal!({
                                "minLength": 1,
                                "maxLength": 128,
                                "pattern": "^[!-~]+$",
                                "$comment": "must have ASCII letters, digits and signs, and no spaces",
                                "examples": ["reboot"]
                            }),
                        ),
                    ),
                    ("payload", help(any("Payload"), "Any JSON value. Empty: null.")),
                    (
                        "responseTimeoutSeconds",
                        with(
                            help(
                                integer("Response timeout (s)", 5, 3600),
                                "How long to wait for the device's answer. Hubs take up to 300.",
                            ),
                            json!({ "default": USUAL_RESPONSE, "x-visibility": "advanced" }),
                        ),
                    ),
                    (
                        "connectTimeoutSeconds",
                        with(
                            help(
                                integer("Connect timeout (s)", 0, 300),
                                "How long to wait for a device that is not connected. 0: fail at once.",
                            ),
                            literal!({ "default": 0, "x-visibility": "advanced" }),
                        ),
                    ),
                ],
                &["deviceId", "methodName"],
            ),
            output: open_object(
                [
                    (
                        "status",
                        help(
                            integer("Status", i64::from(i32::MIN), i64::from(i32::MAX)),
                            "The device's own, usually after HTTP's.",
                        ),
                    ),
                    ("payload", any("Payload")),
                    ("payloadNote", help(string("Note"), "Why the payload is not what the device wrote.")),
                ],
                &["status"],
            ),
            input_sample: literal!({ "deviceId": "press-17", "methodName": "reboot", "payload": { "delaySeconds": 5 } }),
            output_sample: literal!({ "status": 200, "payload": { "result": "rebooting" } }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[
                ("Payload", LARGEST_PAYLOAD as u64, "bytes"),
                ("Direct methods of an S1 unit, in pieces of 4 KB", 40, "requests/second"),
            ],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Write,
            idempotency: Idempotency::None,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let mut input = input;
        let payload = json::take(&mut input, "payload");
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        let size = payload.to_string().len();
        if size > LARGEST_PAYLOAD {
            let message = format!(
                "The payload of a direct method must have at most {LARGEST_PAYLOAD} bytes; this one has {size}."
            );
            return Err(Error::new(ErrorCode::PayloadTooLarge, message));
        }
        let (response, connect) = waits(
            session.remaining(),
            Duration::from_secs(input.response_timeout_seconds.unwrap_or(USUAL_RESPONSE)),
            Duration::from_secs(input.connect_timeout_seconds.unwrap_or(0)),
        );
        let connect = Some(connect).filter(|connect| !connect.is_zero());
        let answer = session.hub().invoke_method(&id, &input.method_name, &payload, Some(response), connect)?;
        let status = answer.get("status").and_then(Value::as_i64).ok_or_else(|| {
            Error::new(ErrorCode::Protocol, "The hub's answer lacks the status of the device's answer")
                .with_effect(EffectState::Applied)
        })?;
        let payload = answer.get("payload").cloned().unwrap_or_default();
        let mut output = json!({ "status": status, "payload": payload });
        if json::is_folded(&output) {
            output["payloadNote"] = format!(
                "What must not be nested deeper than {} levels is passed on as its text, as the member {} of an object.",
                json::RECORD_LEVELS,
                json::FOLDED
            )
            .into();
        }
        Ok(Outcome::Done(output.to_string()))
    }
}

/// The response timeout and the connect timeout. If the remaining time is too short, both are shortened in proportion,
/// so that the hub gives up before the call ends: only the hub's answer states whether the device was reached.
fn waits(remaining: Duration, response: Duration, connect: Duration) -> (Duration, Duration) {
    let room = remaining.saturating_sub(WAY);
    let asked = response + connect;
    if asked <= room {
        return (response, connect);
    }
    let share = room.as_secs_f64() / asked.as_secs_f64();
    let whole = |time: Duration| Duration::from_secs(time.mul_f64(share).as_secs());
    let response = whole(response).max(LEAST_RESPONSE);
    let connect = whole(connect).min(Duration::from_secs(room.saturating_sub(response).as_secs()));
    (response, connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_gives_up_before_the_caller() {
        let table = [
            // In seconds: remaining time, response timeout, connect timeout, expected response timeout, expected
            // connect timeout.
            (60, 30, 0, 30, 0),
            (62, 30, 30, 30, 30),
            (32, 30, 30, 15, 15),
            (12, 30, 0, 10, 0),
            (12, 30, 60, 5, 5),
            (8, 30, 60, 5, 1),
            (1, 30, 60, 5, 0),
        ];
        for (remaining, response, connect, expected_response, expected_connect) in table {
            let seconds = Duration::from_secs;
            assert_eq!(
                waits(seconds(remaining), seconds(response), seconds(connect)),
                (seconds(expected_response), seconds(expected_connect)),
                "{remaining} {response} {connect}"
            );
        }
    }
}
