//! Direct methods of devices and modules.

use std::time::Duration;

use serde_json::{Value, json};

use super::declaration::{Field, Limit, optional, required};
use super::input::Input;
use super::waits::waits;
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::schema::{any, help, integer, literal, open_object, string, with};
use crate::json;
use crate::session::Session;

/// The largest payload, in bytes.
const LARGEST_PAYLOAD: usize = 128 * 1024;
/// The response timeout if the input states none, in seconds.
const USUAL_RESPONSE: u64 = 30;

/// The method's name.
pub const NAME: Field = required("methodName", name);
/// The method's payload.
pub const PAYLOAD: Field = optional("payload", payload);
/// How long the hub waits for the answer.
pub const RESPONSE_TIMEOUT: Field = optional("responseTimeoutSeconds", response_timeout);
/// How long the hub waits for a device that is not connected.
pub const CONNECT_TIMEOUT: Field = optional("connectTimeoutSeconds", connect_timeout);
/// The limits of an action that calls a method.
pub const LIMITS: &[Limit] = &[PAYLOAD_LIMIT, super::limits::METHODS];
/// The limit of a payload.
pub const PAYLOAD_LIMIT: Limit = ("Payload", LARGEST_PAYLOAD as u64, "bytes");

fn name() -> Value {
    with(
        string("Method"),
        literal!({
            "minLength": 1,
            "maxLength": 128,
            "pattern": "^[!-~]+$",
            "$comment": "must have ASCII letters, digits and signs, and no spaces",
            "examples": ["reboot"],
            "x-options": "method-names"
        }),
    )
}

fn payload() -> Value {
    help(any("Payload"), "Any JSON value. Empty: null.")
}

fn response_timeout() -> Value {
    with(
        help(
            integer("Response timeout (s)", 5, 3600),
            "How long to wait for the device's answer. Hubs take up to 300.",
        ),
        json!({ "default": USUAL_RESPONSE, "x-visibility": "advanced" }),
    )
}

fn connect_timeout() -> Value {
    with(
        help(
            integer("Connect timeout (s)", 0, 300),
            "How long to wait for a device that is not connected. 0: fail at once.",
        ),
        literal!({ "default": 0, "x-visibility": "advanced" }),
    )
}

/// The members of an output that has a method's answer.
pub fn answer_fields() -> [(&'static str, Value); 3] {
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
    ]
}

/// A method's answer.
pub fn output() -> Value {
    open_object(answer_fields(), &["status"])
}

/// An example of [`output`].
pub fn output_sample() -> Value {
    literal!({ "status": 200, "payload": { "result": "rebooting" } })
}

/// The method of an input, in the form of the service's request, with these timeouts.
///
/// # Errors
/// `payload-too-large`.
fn request(input: &Input, response: Duration, connect: Duration) -> Result<Value> {
    let payload = input.get("payload").cloned().unwrap_or_default();
    let size = payload.to_string().len();
    if size > LARGEST_PAYLOAD {
        let message =
            format!("The payload of a direct method must have at most {LARGEST_PAYLOAD} bytes; this one has {size}.");
        return Err(Error::new(ErrorCode::PayloadTooLarge, message));
    }
    let mut body = json!({
        "methodName": input.required_text("methodName"),
        "payload": payload,
        "responseTimeoutInSeconds": response.as_secs(),
    });
    if !connect.is_zero() {
        body["connectTimeoutInSeconds"] = connect.as_secs().into();
    }
    Ok(body)
}

/// The response timeout and the connect timeout of an input.
fn asked(input: &Input) -> (Duration, Duration) {
    let seconds = |name: &str, usual: u64| Duration::from_secs(input.number(name).unwrap_or(usual));
    (seconds("responseTimeoutSeconds", USUAL_RESPONSE), seconds("connectTimeoutSeconds", 0))
}

/// The method of an input, in the form of the service's request. The hub calls it later.
///
/// # Errors
/// `payload-too-large`.
pub fn document(input: &Input) -> Result<Value> {
    let (response, connect) = asked(input);
    request(input, response, connect)
}

/// Calls the method that the input names, and returns the answer as the output has it.
///
/// # Errors
/// `invalid-input`, `payload-too-large`, `device-offline`, `timeout`, `not-found`, and the errors of the service.
pub fn invoke(session: &Session, input: &Input) -> Result<Value> {
    let id = input.twin()?;
    let (response, connect) = asked(input);
    let (response, connect) = waits(session.remaining(), response, connect);
    let answer = session.hub().invoke_method(&id, request(input, response, connect)?, response + connect)?;
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
    Ok(output)
}
