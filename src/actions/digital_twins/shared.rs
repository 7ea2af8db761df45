//! What the actions on digital twins share: names of a model, and the call of a command.

use std::time::Duration;

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Field, optional};
use crate::actions::shared::input::Input;
use crate::actions::shared::waits::waits;
use crate::auth::Permission;
use crate::error::{EffectState, Error, ErrorCode, Result};
use crate::form::schema::{any, help, integer, literal, object, string, with};
use crate::http::{Request, Safety};
use crate::iothub::DeviceId;
use crate::json;
use crate::platform::Method;
use crate::session::Session;

/// The largest payload of a command, in bytes, as of a direct method.
pub const LARGEST_PAYLOAD: usize = 128 * 1024;
/// The response timeout if the input states none, in seconds.
const USUAL_RESPONSE: u64 = 30;

/// The payload of a command.
pub const PAYLOAD: Field = optional("payload", || {
    help(
        any("Payload"),
        "What the command's request has in the model. Empty: `{}`, because the hub asks for a payload.",
    )
});
/// How long the hub waits for the answer.
pub const RESPONSE: Field = optional("responseTimeoutSeconds", || {
    with(
        help(integer("Response timeout (s)", 5, 300), "How long to wait for the device's answer."),
        literal!({ "default": 30, "x-visibility": "advanced" }),
    )
});
/// How long the hub waits for the device.
pub const CONNECT: Field = optional("connectTimeoutSeconds", || {
    with(
        help(
            integer("Connect timeout (s)", 0, 300),
            "How long to wait for a device that is not connected. 0: fail at once.",
        ),
        literal!({ "default": 0, "x-visibility": "advanced" }),
    )
});

/// The name of a command.
pub fn command() -> Value {
    name("Command", "reboot")
}

/// The name of a component.
pub fn component() -> Value {
    name("Component", "thermostat1")
}

/// A name of a model ("Digital Twins Definition Language": letters, digits and underscores).
fn name(title: &str, example: &str) -> Value {
    with(
        string(title),
        json!({
            "minLength": 1,
            "maxLength": 512,
            "pattern": "^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$",
            "$comment": "must be a name of a model: a letter, then letters, digits and underscores, not ending with an underscore",
            "examples": [example],
        }),
    )
}

/// The output of a command.
pub fn command_output() -> Value {
    object(
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
            ("requestId", help(string("Request id"), "The hub's id of the call, for Microsoft's support.")),
        ],
        &["status"],
    )
}

/// Calls a command of a device, or of one of its components.
///
/// # Errors
/// `device-offline`, `timeout` (the command may have run), `not-found`, `payload-too-large`, and the errors of the
/// service.
pub fn invoke(session: &Session, input: &Input, component: Option<&str>) -> Result<Value> {
    let id: DeviceId = input.device()?;
    let payload = input.get("payload").cloned().unwrap_or_else(|| json!({}));
    let size = payload.to_string().len();
    if size > LARGEST_PAYLOAD {
        let message =
            format!("The payload of a command must have at most {LARGEST_PAYLOAD} bytes; this one has {size}.");
        return Err(Error::new(ErrorCode::PayloadTooLarge, message));
    }
    let seconds = |name: &str, usual| Duration::from_secs(input.number(name).unwrap_or(usual));
    let (response, connect) = waits(
        session.remaining(),
        seconds("responseTimeoutSeconds", USUAL_RESPONSE),
        seconds("connectTimeoutSeconds", 0),
    );
    let command = input.required_text("commandName");
    let mut segments = vec!["digitaltwins", id.as_str()];
    if let Some(component) = component {
        segments.extend(["components", component]);
    }
    segments.extend(["commands", command]);
    let mut request = Request::new(Method::Post, segments, Safety::Once, Permission::ServiceConnect)
        .query("responseTimeoutInSeconds", response.as_secs())
        .json(payload)
        .wait(response + connect);
    if !connect.is_zero() {
        request = request.query("connectTimeoutInSeconds", connect.as_secs());
    }
    let answer = session.hub().send(&request)?;
    let status = answer.header("x-ms-command-statuscode").and_then(|status| status.trim().parse::<i32>().ok());
    let status = status.ok_or_else(|| {
        Error::new(ErrorCode::Protocol, "The hub's answer lacks the status of the device's answer")
            .with_effect(EffectState::Applied)
    })?;
    let mut output = json!({ "status": status, "payload": answer.json()? });
    if json::is_folded(&output) {
        output["payloadNote"] = format!(
            "What must not be nested deeper than {} levels is passed on as its text, as the member {} of an object.",
            json::RECORD_LEVELS,
            json::FOLDED
        )
        .into();
    }
    if let Some(id) = answer.header("x-ms-request-id") {
        output["requestId"] = id.into();
    }
    Ok(output)
}
