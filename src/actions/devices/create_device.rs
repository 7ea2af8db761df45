//! Creates a device identity.
//!
//! ```scenario
//! done {"deviceId": "made-plain", "ifExists": "keep"}
//! done {"deviceId": "made-plain", "ifExists": "keep"}
//! conflict {"deviceId": "made-plain"}
//! done {"deviceId": "made-keys", "primaryKey": "$key-1", "secondaryKey": "$key-2"}
//! done {"deviceId": "made-thumbprint", "authentication": "selfSigned", "primaryThumbprint": "$thumbprint-1"}
//! done {"deviceId": "made-thumbprints", "authentication": "selfSigned", "primaryThumbprint": "$thumbprint-1", "secondaryThumbprint": "$thumbprint-2"}
//! done {"deviceId": "made-ca", "authentication": "certificateAuthority"}
//! done {"deviceId": "made-edge", "edge": true, "status": "disabled", "statusReason": "Not installed yet"}
//! done {"deviceId": "$odd"}
//! invalid-input {"deviceId": "made-bad", "primaryKey": "no key", "secondaryKey": "no key"}
//! ```

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::actions::shared::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::{Error, ErrorCode, Result};
use crate::form::schema::literal;
use crate::form::schema::{boolean, help, object, one_of, string, with};
use crate::form::{Spec, fields, typed};
use crate::iothub::DeviceId;
use crate::session::Session;

/// The action.
pub static ACTION: CreateDevice = CreateDevice;

pub struct CreateDevice;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
    status: Option<String>,
    status_reason: Option<String>,
    authentication: Option<String>,
    primary_key: Option<String>,
    secondary_key: Option<String>,
    primary_thumbprint: Option<String>,
    secondary_thumbprint: Option<String>,
    edge: Option<bool>,
    if_exists: Option<String>,
}

impl Action for CreateDevice {
    fn id(&self) -> &'static str {
        "create-device"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Create a device",
            help: "Adds a device identity to the hub's registry. With symmetric keys and none given, the hub makes them; the output has them.",
            group: "Devices",
            input: object(
                [
                    ("deviceId", fields::device_id()),
                    ("status", with(one_of("Status", &["enabled", "disabled"]), literal!({ "default": "enabled" }))),
                    ("statusReason", with(string("Status reason"), json!({ "maxLength": 128 }))),
                    (
                        "authentication",
                        with(
                            help(
                                one_of("Authentication", &["sas", "selfSigned", "certificateAuthority"]),
                                "How the device proves who it is: symmetric keys, a certificate known by its thumbprint, or one issued by a known authority.",
                            ),
                            json!({ "default": "sas" }),
                        ),
                    ),
                    ("primaryKey", fields::symmetric_key("Primary key")),
                    ("secondaryKey", fields::symmetric_key("Secondary key")),
                    ("primaryThumbprint", fields::thumbprint("Primary thumbprint")),
                    ("secondaryThumbprint", fields::thumbprint("Secondary thumbprint")),
                    (
                        "edge",
                        with(boolean("IoT Edge device"), literal!({ "default": false, "x-visibility": "advanced" })),
                    ),
                    (
                        "ifExists",
                        with(
                            help(
                                one_of("If it exists", &["fail", "keep"]),
                                "`keep`: leave the device as it is and answer with it. Makes repeating the action harmless.",
                            ),
                            literal!({ "default": "fail", "x-visibility": "advanced" }),
                        ),
                    ),
                ],
                &["deviceId"],
            ),
            output: fields::device_output(),
            input_sample: literal!({ "deviceId": "press-17", "authentication": "sas" }),
            output_sample: fields::device_sample(),
            dynamic_output: false,
            permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
            limits: &[
                ("Identity operations of an S1 unit", 100, "requests/minute"),
                ("Devices of a hub", 1_000_000, "items"),
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
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        let keep = input.if_exists.as_deref() == Some("keep");
        match session.hub().create_device(&id, identity(&input)?) {
            Err(error) if keep && error.code() == ErrorCode::Conflict => {
                Ok(Outcome::Done(session.hub().device(&id)?.document.to_string()))
            }
            created => Ok(Outcome::Done(created?.document.to_string())),
        }
    }
}

fn identity(input: &Input) -> Result<Value> {
    let authentication = input.authentication.as_deref().unwrap_or("sas");
    // Absent values are left out, as in Microsoft's clients, because the hub's API description does not allow null.
    let pair = |first: &Option<String>, second: &Option<String>, names: [&str; 2]| -> Map<String, Value> {
        let given = names.into_iter().zip([first, second]);
        given.filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into()))).collect()
    };
    if authentication != "sas" {
        refuse(&input.primary_key, "/primaryKey", authentication)?;
        refuse(&input.secondary_key, "/secondaryKey", authentication)?;
    }
    if authentication != "selfSigned" {
        refuse(&input.primary_thumbprint, "/primaryThumbprint", authentication)?;
        refuse(&input.secondary_thumbprint, "/secondaryThumbprint", authentication)?;
    } else if input.primary_thumbprint.is_none() {
        return Err(Error::field("/primaryThumbprint", "missing", "is needed for a self-signed certificate"));
    }
    if input.primary_key.is_some() != input.secondary_key.is_some() {
        let missing = if input.primary_key.is_none() { "/primaryKey" } else { "/secondaryKey" };
        return Err(Error::field(missing, "missing", "must be given with the other key: the hub takes both or none"));
    }
    let mut mechanism = json!({ "type": authentication });
    if input.primary_key.is_some() {
        mechanism["symmetricKey"] =
            pair(&input.primary_key, &input.secondary_key, ["primaryKey", "secondaryKey"]).into();
    }
    if input.primary_thumbprint.is_some() {
        mechanism["x509Thumbprint"] =
            pair(&input.primary_thumbprint, &input.secondary_thumbprint, ["primaryThumbprint", "secondaryThumbprint"])
                .into();
    }
    let mut device = json!({
        "deviceId": input.device_id,
        "status": input.status.as_deref().unwrap_or("enabled"),
        "authentication": mechanism,
    });
    if let Some(reason) = &input.status_reason {
        device["statusReason"] = reason.as_str().into();
    }
    if input.edge == Some(true) {
        device["capabilities"] = json!({ "iotEdge": true });
    }
    Ok(device)
}

fn refuse(value: &Option<String>, pointer: &str, authentication: &str) -> Result<()> {
    match value {
        Some(_) => Err(Error::field(
            pointer,
            "not-allowed",
            format!("does not belong to the authentication `{authentication}`"),
        )),
        None => Ok(()),
    }
}
