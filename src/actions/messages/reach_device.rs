//! Calls a direct method, and leaves a message or a desired property for a device that is offline.
//!
//! ```scenario
//! done {"deviceId": "press-1", "methodName": "reboot", "payload": {"delaySeconds": 5}}
//! done {"deviceId": "offline-1", "methodName": "reboot", "whenOffline": "desiredProperty", "desiredPath": "commands.reboot", "desiredValue": {"at": 3}}
//! done {"deviceId": "offline-1", "methodName": "reboot", "payload": 1, "whenOffline": "cloudToDeviceMessage"}
//! done {"deviceId": "offline-1", "methodName": "reboot", "whenOffline": "cloudToDeviceMessage", "message": {"body": "wake up", "properties": {"urgent": true}, "expiresAfterSeconds": 60}}
//! device-offline {"deviceId": "offline-1", "methodName": "reboot"}
//! not-found {"deviceId": "missing", "methodName": "reboot", "whenOffline": "desiredProperty", "desiredPath": "a", "desiredValue": 1}
//! timeout {"deviceId": "press-1", "methodName": "reboot", "whenOffline": "desiredProperty", "desiredPath": "a", "desiredValue": 1} under hub:POST /twins/*=504/504101
//! invalid-input {"deviceId": "offline-1", "methodName": "reboot", "whenOffline": "desiredProperty"}
//! invalid-input {"deviceId": "offline-1", "methodName": "reboot", "whenOffline": "cloudToDeviceMessage", "message": {"body": "no base64", "bodyEncoding": "base64"}}
//! invalid-input {"deviceId": "offline-1", "methodName": "reboot", "desiredPath": "a"}
//! ```

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::input::Input;
use crate::actions::shared::method::{self, CONNECT_TIMEOUT, NAME, PAYLOAD, RESPONSE_TIMEOUT};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::Call;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{EffectState, Error, ErrorCode, FieldProblem, Result, problem, settle};
use crate::form::fields;
use crate::form::schema::{any, help, literal, object, one_of, string, with};
use crate::http::IfMatch;
use crate::iothub::{Identity, TwinPart, check_patch};
use crate::json::{child, from_members};
use crate::platform::Method;
use crate::session::Session;

/// What a device that is offline can be left with. Messages need AMQP.
const WAYS: &[&str] = if cfg!(feature = "amqp") {
    &["fail", "cloudToDeviceMessage", "desiredProperty"]
} else {
    &["fail", "desiredProperty"]
};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "reach-device",
        title: "Reach a device",
        help: "Calls a direct method on a device. If the device is not connected, the action fails, or leaves a message in the device's queue, or sets a desired property: the device finds either when it next connects. The output says which way was taken. \
               After a timeout the method may have run, so nothing is left for the device then. Needs a hub of the Standard or Free tier.",
        group: "Direct methods",
        input: &[
            required("deviceId", fields::device_id),
            NAME,
            PAYLOAD,
            optional("whenOffline", || {
                with(
                    help(one_of("If the device is offline", WAYS), "What to do for a device that is not connected."),
                    literal!({ "default": "fail" }),
                )
            }),
            #[cfg(feature = "amqp")]
            optional("message", message),
            optional("desiredPath", || {
                with(
                    help(
                        string("Path of the desired property"),
                        "For `desiredProperty`: the names on the way to the property, with dots between them.",
                    ),
                    literal!({
                        "minLength": 1,
                        "maxLength": 1024,
                        "pattern": "^[^.$ ]+([.][^.$ ]+)*$",
                        "$comment": "must be names with dots between them, without spaces and dollar signs",
                        "examples": ["commands.reboot"]
                    }),
                )
            }),
            optional("desiredValue", || {
                help(any("Value of the desired property"), "For `desiredProperty`: any JSON value.")
            }),
            RESPONSE_TIMEOUT,
            CONNECT_TIMEOUT,
        ],
        input_sample: r#"{ "deviceId": "press-17", "methodName": "reboot", "payload": { "delaySeconds": 5 }, "whenOffline": "desiredProperty", "desiredPath": "commands.reboot", "desiredValue": { "id": 7 } }"#,
        output: || {
            let own = [
                ("way", one_of("Way", &["directMethod", "cloudToDeviceMessage", "desiredProperty"])),
                ("messageId", string("Message id")),
                ("etag", help(string("ETag"), "Of the twin with the desired property.")),
            ];
            object(own.into_iter().chain(method::answer_fields()), &["way"])
        },
        output_sample: || literal!({ "way": "directMethod", "status": 200, "payload": { "result": "rebooting" } }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: method::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run,
};

/// The message for the device.
#[cfg(feature = "amqp")]
fn message() -> Value {
    let fields = super::message::fields();
    let expiry = ("expiresAfterSeconds", super::send_cloud_to_device_message::expires_after());
    with(
        object(fields.into_iter().chain([expiry]), &["body"]),
        literal!({
            "title": "Message",
            "description": "For `cloudToDeviceMessage`. Empty: an object with `methodName` and `payload`.",
            "x-visibility": "advanced"
        }),
    )
}

/// What is left for a device that is offline.
enum Fallback {
    None,
    #[cfg(feature = "amqp")]
    Message(Box<super::message::Message>, Option<i64>),
    Property(Value),
}

fn run(session: &Session, input: &Input, call: &Call) -> Result<Value> {
    let id = input.identity()?;
    // What is wrong with the fallback is reported before the method is called.
    let fallback = fallback(session, input, call)?;
    match method::invoke(session, input) {
        Ok(mut answer) => {
            answer["way"] = "directMethod".into();
            Ok(answer)
        }
        // A connection that was lost during the call may have brought the method to the device.
        Err(error) if error.code() == ErrorCode::DeviceOffline && error.record().effect == EffectState::None => {
            leave(session, id, fallback, error)
        }
        Err(error) => Err(error),
    }
}

fn fallback(session: &Session, input: &Input, call: &Call) -> Result<Fallback> {
    let way = input.text("whenOffline").unwrap_or("fail");
    let needed = |wanted: &str, names: &[&str]| {
        let stray = names.iter().filter(|name| way != wanted && input.get(name).is_some());
        let stray = stray.map(|name| {
            problem(&format!("/{name}"), "not-used", format!("is used only if \"whenOffline\" is \"{wanted}\""))
        });
        stray.collect::<Vec<FieldProblem>>()
    };
    let mut problems = needed("desiredProperty", &["desiredPath", "desiredValue"]);
    problems.extend(needed("cloudToDeviceMessage", &["message"]));
    if way == "desiredProperty" {
        let missing = ["desiredPath", "desiredValue"].into_iter().filter(|name| input.get(name).is_none());
        problems.extend(missing.map(|name| problem(&format!("/{name}"), "missing", "is missing")));
    }
    settle(problems)?;
    match way {
        #[cfg(feature = "amqp")]
        "cloudToDeviceMessage" => read_message(session, input, call),
        "desiredProperty" => property(input).map(Fallback::Property),
        _ => {
            let _ = (session, call);
            Ok(Fallback::None)
        }
    }
}

#[cfg(feature = "amqp")]
fn read_message(session: &Session, input: &Input, call: &Call) -> Result<Fallback> {
    use super::message::MessageInput;
    use super::send_cloud_to_device_message::{LARGEST, expiry};

    let mut stated = input.get("message").cloned().unwrap_or_else(
        || json!({ "body": { "methodName": input.required_text("methodName"), "payload": input.get("payload") } }),
    );
    let expires = stated.get("expiresAfterSeconds").and_then(Value::as_u64).map(|seconds| expiry(session, seconds));
    let scope = [input.required_text("deviceId")];
    let message = MessageInput::take(&mut stated)
        .and_then(|message| message.read(session.platform(), call, &scope, LARGEST))
        .map_err(|error| {
            let record = error.record();
            let inner =
                |field: &FieldProblem| FieldProblem { pointer: format!("/message{}", field.pointer), ..field.clone() };
            let fields: Vec<FieldProblem> = record.fields.iter().map(inner).collect();
            if fields.is_empty() { error } else { Error::fields(record.code, "The message does not fit", fields) }
        })?;
    Ok(Fallback::Message(Box::new(message), expires))
}

/// The twin's patch that sets the desired property.
fn property(input: &Input) -> Result<Value> {
    let path = input.required_text("desiredPath");
    let value = input.get("desiredValue").cloned().unwrap_or_default();
    let nested = path.rsplit('.').fold(value, |inner, name| from_members([(name, inner)]).into());
    let way = child("", path).replace('.', "/");
    let mut problems = check_patch(TwinPart::Desired, &nested, "");
    for problem in &mut problems {
        problem.pointer = match problem.pointer.strip_prefix(&way) {
            Some(rest) => format!("/desiredValue{rest}"),
            None if problem.pointer.is_empty() => "/desiredValue".to_owned(),
            None => "/desiredPath".to_owned(),
        };
    }
    if problems.is_empty() {
        Ok(json!({ "properties": { "desired": nested } }))
    } else {
        Err(Error::fields(ErrorCode::InvalidInput, "The twin cannot be changed in this way", problems))
    }
}

fn leave(session: &Session, id: Identity, fallback: Fallback, offline: Error) -> Result<Value> {
    match fallback {
        Fallback::None => Err(offline),
        #[cfg(feature = "amqp")]
        Fallback::Message(message, expires) => {
            super::send_cloud_to_device_message::send(session, &id, &message, "none", expires)?;
            Ok(json!({ "way": "cloudToDeviceMessage", "messageId": message.message_id }))
        }
        Fallback::Property(patch) => {
            let written = session.hub().write_twin(&id, Method::Patch, patch, &IfMatch::Any)?;
            let mut output = json!({ "way": "desiredProperty" });
            if let Some(etag) = written.etag {
                output["etag"] = etag.as_str().into();
            }
            Ok(output)
        }
    }
}
