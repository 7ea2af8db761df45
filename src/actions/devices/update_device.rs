//! Changes a device identity.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "status": "disabled", "statusReason": "Lost"}
//! done {"deviceId": "changed-1", "status": "enabled", "statusReason": ""}
//! done {"deviceId": "changed-1", "keys": "regenerateSecondary"}
//! done {"deviceId": "changed-1", "keys": "swap"}
//! done {"deviceId": "changed-1", "primaryKey": "$key-1", "edge": true}
//! done {"deviceId": "changed-1", "status": "enabled"} tagged get-device {"deviceId": "changed-1"}
//! done {"deviceId": "made-thumbprint", "secondaryThumbprint": "$thumbprint-2"}
//! precondition-failed {"deviceId": "changed-1", "status": "disabled", "etag": "$stale"}
//! not-found {"deviceId": "missing", "status": "disabled"}
//! invalid-input {"deviceId": "changed-1"}
//! ```

use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::shared::change::{self, set};
use crate::actions::shared::{Action, keys};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::{Error, ErrorCode, FieldProblem, Result, problem};
use crate::form::schema::literal;
use crate::form::schema::{boolean, help, object, one_of, string, with};
use crate::form::{Spec, fields, typed};
use crate::http::IfMatch;
use crate::iothub::DeviceId;
use crate::platform::Platform;
use crate::session::Session;

/// The action.
pub static ACTION: UpdateDevice = UpdateDevice;

pub struct UpdateDevice;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Keys {
    #[default]
    Keep,
    RegeneratePrimary,
    RegenerateSecondary,
    Swap,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
    status: Option<String>,
    status_reason: Option<String>,
    #[serde(default)]
    keys: Keys,
    primary_key: Option<String>,
    secondary_key: Option<String>,
    primary_thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
    edge: Option<bool>,
    etag: Option<String>,
}

impl Action for UpdateDevice {
    fn id(&self) -> &'static str {
        "update-device"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Update a device",
            help: "Enables or disables a device, changes its keys, its thumbprints or its IoT Edge flag. What is left empty stays as it is. \
                   To change keys without an interruption: **regenerate secondary**, give the device the new secondary key, **swap**, then regenerate secondary again. \
                   The output has the keys.",
            group: "Devices",
            input: object(
                [
                    ("deviceId", fields::device_id()),
                    (
                        "status",
                        help(one_of("Status", &["enabled", "disabled"]), "A device that is disabled cannot connect."),
                    ),
                    (
                        "statusReason",
                        with(
                            help(string("Status reason"), "An empty text removes the reason."),
                            json!({ "maxLength": 128 }),
                        ),
                    ),
                    (
                        "keys",
                        with(
                            help(
                                one_of("Keys", &["keep", "regeneratePrimary", "regenerateSecondary", "swap"]),
                                "What to do with the symmetric keys. New ones are made by the connector: 32 random bytes.",
                            ),
                            literal!({ "default": "keep" }),
                        ),
                    ),
                    ("primaryKey", given_key("Primary key")),
                    ("secondaryKey", given_key("Secondary key")),
                    ("primaryThumbprint", fields::thumbprint("Primary thumbprint")),
                    ("secondaryThumbprint", fields::thumbprint("Secondary thumbprint")),
                    ("edge", with(boolean("IoT Edge device"), literal!({ "x-visibility": "advanced" }))),
                    ("etag", fields::etag()),
                ],
                &["deviceId"],
            ),
            output: fields::device_output(),
            input_sample: literal!({ "deviceId": "press-17", "status": "disabled", "statusReason": "Lost" }),
            output_sample: with(
                fields::device_sample(),
                literal!({ "status": "disabled", "statusReason": "Lost", "statusUpdatedTime": "2026-05-04T07:30:00Z" }),
            ),
            dynamic_output: false,
            permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
            limits: &[("Identity operations of an S1 unit", 100, "requests/minute")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Write,
            idempotency: Idempotency::Conditional,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        let stated = input.etag.as_deref().map(|etag| IfMatch::from_input(Some(etag), "/etag")).transpose()?;
        judge(&input)?;
        let hub = session.hub();
        let changed = change::apply(
            stated.as_ref(),
            || hub.device_to_change(&id).map(Some),
            |device| edit(&input, device.unwrap_or_default(), session.platform()),
            |mut device, if_match| {
                let if_match = if_match.unwrap_or(&IfMatch::Any);
                if let IfMatch::Tag(etag) = if_match {
                    // The hub compares only the header; the body's ETag is set so that it does not contradict the
                    // header.
                    set(&mut device, &["etag"], etag.as_str().into());
                }
                hub.replace_device(&id, device, if_match)
            },
        )?;
        Ok(Outcome::Done(changed.document.to_string()))
    }
}

fn given_key(title: &str) -> Value {
    help(fields::symmetric_key(title), "Base64, 16 to 64 bytes. Empty: see **Keys**.")
}

/// Checks the rules that do not depend on the stored device.
fn judge(input: &Input) -> Result<()> {
    let mut problems: Vec<FieldProblem> = Vec::new();
    for (key, pointer) in [(&input.primary_key, "/primaryKey"), (&input.secondary_key, "/secondaryKey")] {
        let Some(key) = key else { continue };
        problems.extend(keys::check(key, pointer));
        if input.keys != Keys::Keep {
            problems.push(problem(pointer, "not-allowed", "can be given only if Keys is `keep` or empty"));
        }
    }
    if problems.is_empty() && !wants_keys(input) && !wants_thumbprints(input) {
        let nothing = input.status.is_none() && input.status_reason.is_none() && input.edge.is_none();
        if nothing {
            problems.push(problem("", "nothing-to-change", "must state at least one change"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(ErrorCode::InvalidInput, "The input does not fit", problems))
    }
}

fn wants_keys(input: &Input) -> bool {
    input.keys != Keys::Keep || input.primary_key.is_some() || input.secondary_key.is_some()
}

fn wants_thumbprints(input: &Input) -> bool {
    input.primary_thumbprint.is_some() || input.secondary_thumbprint.is_some()
}

/// Returns the device with the changes.
fn edit(input: &Input, mut device: Value, platform: &dyn Platform) -> Result<Value> {
    let authentication = device.pointer("/authentication/type").and_then(Value::as_str).unwrap_or("sas").to_owned();
    if let Some(status) = &input.status {
        set(&mut device, &["status"], status.as_str().into());
    }
    if let Some(reason) = &input.status_reason {
        if !reason.is_empty() {
            set(&mut device, &["statusReason"], reason.as_str().into());
        } else if let Some(members) = device.as_object_mut() {
            // The write replaces the device, so a member that is left out is removed. The hub's API description does
            // not allow null.
            members.remove("statusReason");
        }
    }
    if let Some(edge) = input.edge {
        set(&mut device, &["capabilities", "iotEdge"], edge.into());
    }
    if wants_keys(input) {
        if authentication != "sas" {
            let at = if input.keys != Keys::Keep {
                "/keys"
            } else if input.primary_key.is_some() {
                "/primaryKey"
            } else {
                "/secondaryKey"
            };
            return Err(not_with(at, &authentication));
        }
        let [primary, secondary] = new_keys(input, &device, platform)?;
        set(&mut device, &["authentication", "symmetricKey", "primaryKey"], primary.into());
        set(&mut device, &["authentication", "symmetricKey", "secondaryKey"], secondary.into());
    }
    for (thumbprint, name, pointer) in [
        (&input.primary_thumbprint, "primaryThumbprint", "/primaryThumbprint"),
        (&input.secondary_thumbprint, "secondaryThumbprint", "/secondaryThumbprint"),
    ] {
        let Some(thumbprint) = thumbprint else { continue };
        if authentication != "selfSigned" {
            return Err(not_with(pointer, &authentication));
        }
        set(&mut device, &["authentication", "x509Thumbprint", name], thumbprint.as_str().into());
    }
    Ok(device)
}

fn new_keys(input: &Input, device: &Value, platform: &dyn Platform) -> Result<[String; 2]> {
    let old = |name: &str| {
        let key = device.pointer(&format!("/authentication/symmetricKey/{name}")).and_then(Value::as_str);
        key.map(str::to_owned).ok_or_else(|| {
            Error::new(ErrorCode::Protocol, "The hub did not give out the device's keys, so they cannot be changed")
        })
    };
    let given = |key: &Option<String>, name: &str| key.clone().map_or_else(|| old(name), Ok);
    Ok(match input.keys {
        Keys::Keep => [given(&input.primary_key, "primaryKey")?, given(&input.secondary_key, "secondaryKey")?],
        Keys::RegeneratePrimary => [keys::generate(platform), old("secondaryKey")?],
        Keys::RegenerateSecondary => [old("primaryKey")?, keys::generate(platform)],
        Keys::Swap => [old("secondaryKey")?, old("primaryKey")?],
    })
}

fn not_with(pointer: &str, authentication: &str) -> Error {
    Error::field(
        pointer,
        "not-allowed",
        format!("does not belong to the device's authentication, which is `{authentication}`"),
    )
}
