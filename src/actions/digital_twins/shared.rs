//! What the actions on digital twins share: names of a model, and the call of a command.

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Field, optional};
use crate::actions::shared::input::Input;
use crate::actions::shared::method;
use crate::auth::Permission;
use crate::error::Result;
use crate::form::schema::{any, help, integer, literal, object, string, with};
use crate::http::{Request, Safety};
use crate::iothub::DeviceId;
use crate::platform::Method;
use crate::session::Session;

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
    let request = ("requestId", help(string("Request id"), "The hub's id of the call, for Microsoft's support."));
    object(method::answer_fields().into_iter().chain([request]), &["status"])
}

/// Calls a command of a device, or of one of its components.
///
/// # Errors
/// `device-offline`, `timeout` (the command may have run), `not-found`, `payload-too-large`, and the errors of the
/// service.
pub fn invoke(session: &Session, input: &Input, component: Option<&str>) -> Result<Value> {
    let id: DeviceId = input.device()?;
    let payload = method::fitting_payload(input, json!({}), "command")?;
    let (response, connect) = method::timeouts(session, input);
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
    let status =
        answer.header("x-ms-command-statuscode").and_then(|status| status.trim().parse::<i32>().ok()).map(i64::from);
    let mut output = method::output_of(status, answer.json()?)?;
    if let Some(id) = answer.header("x-ms-request-id") {
        output["requestId"] = id.into();
    }
    Ok(output)
}
