//! Makes the connection string of a device or a module.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "press-1", "slot": "secondary", "gatewayHostName": "edge-1.plant.example"}
//! done {"deviceId": "made-thumbprint"}
//! done {"deviceId": "press-1"} under hub:GET /devices/*=503x1
//! not-found {"deviceId": "missing"}
//! not-found {"deviceId": "press-1", "moduleId": "missing"}
//! invalid-input {"deviceId": "$odd"}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::identity::{authentication_type, key_of, no_keys};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{Error, Result};
use crate::form::fields;
use crate::form::schema::{help, literal, object, string, with};
use crate::secret;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-device-connection-string",
        title: "Create a connection string of a device",
        help: "Makes the connection string with which a device, or one of its modules, connects to the hub. It has the symmetric key that the registry holds; \
               for a device with a certificate it says `x509=true`, and the device adds its certificate. Nothing is changed at the hub. \
               Whoever has the connection string can connect as the device: give it to the device only.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            optional("moduleId", fields::module_id),
            optional("slot", fields::key_slot),
            optional("gatewayHostName", || {
                with(
                    help(
                        string("Gateway's host name"),
                        "The IoT Edge gateway through which the device connects. Empty: it connects to the hub.",
                    ),
                    literal!({
                        "minLength": 1,
                        "maxLength": 255,
                        "pattern": "^[A-Za-z0-9.:_\\-]+$",
                        "$comment": "must be a host name or an address",
                        "x-visibility": "advanced"
                    }),
                )
            }),
        ],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: || {
            object(
                [
                    ("deviceId", string("Device id")),
                    ("moduleId", string("Module id")),
                    ("connectionString", fields::secret("Connection string")),
                ],
                &["deviceId", "connectionString"],
            )
        },
        output_sample: || literal!({ "deviceId": "press-17", "connectionString": "HostName=plant.azure-devices.net;DeviceId=press-17;SharedAccessKey=(base64)" }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let of = input.identity()?;
        fits(of.device.as_str(), "/deviceId")?;
        let found = session.hub().read_identity(&of)?.document;
        let mut text = format!("HostName={};DeviceId={}", session.hub().host_for_devices(), of.device.as_str());
        let mut output = json!({ "deviceId": of.device.as_str() });
        if let Some(module) = &of.module {
            fits(module.as_str(), "/moduleId")?;
            text += &format!(";ModuleId={}", module.as_str());
            output["moduleId"] = module.as_str().into();
        }
        match authentication_type(&found) {
            "sas" => {
                let name = if input.text("slot") == Some("secondary") { "secondaryKey" } else { "primaryKey" };
                let key = key_of(&found, name).ok_or_else(no_keys)?;
                secret::remember(key);
                text += &format!(";SharedAccessKey={key}");
            }
            "none" => {
                let message = "has no authentication of its own: the runtime of IoT Edge signs for it";
                return Err(Error::field("/moduleId", "not-allowed", message));
            }
            _ => text += ";x509=true",
        }
        if let Some(gateway) = input.text("gatewayHostName") {
            text += &format!(";GatewayHostName={gateway}");
        }
        output["connectionString"] = text.into();
        Ok(output)
    },
};

/// A connection string has no escape for the character that ends a field.
fn fits(id: &str, pointer: &str) -> Result<()> {
    if !id.contains(';') {
        return Ok(());
    }
    Err(Error::field(pointer, "characters", "has a semicolon, and no connection string can contain such an id"))
}
