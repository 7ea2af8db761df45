//! Makes a token with which a device or a module connects.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "press-1", "slot": "secondary", "lifetimeSeconds": 86400}
//! done {"deviceId": "$odd"}
//! done {"deviceId": "press-1"} under hub:GET /devices/*=503x1
//! not-found {"deviceId": "missing"}
//! not-found {"deviceId": "press-1", "moduleId": "missing"}
//! invalid-input {"deviceId": "made-thumbprint"}
//! invalid-input {"deviceId": "press-1", "lifetimeSeconds": 1}
//! ```

use std::time::Duration;

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::identity::{authentication_type, key_of, no_keys};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::{self, Permission};
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::Error;
use crate::form::fields;
use crate::form::schema::{help, integer, literal, object, string, with};
use crate::instant;
use crate::secret::Secret;

/// How long a token is valid if the input does not say so, in seconds.
const USUAL_LIFETIME: u64 = 3600;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-device-sas-token",
        title: "Create a token of a device",
        help: "Signs a shared access signature token with which a device, or one of its modules, connects to the hub until the token expires. \
               It is signed with the symmetric key that the registry holds, and nothing is changed at the hub. \
               A token cannot be taken back, except by changing the key: choose a short life.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            optional("moduleId", fields::module_id),
            optional("slot", fields::key_slot),
            optional("lifetimeSeconds", || {
                with(
                    help(integer("Life", 60, 31_536_000), "In seconds, from a minute to a year."),
                    literal!({ "default": 3600 }),
                )
            }),
        ],
        input_sample: r#"{ "deviceId": "press-17", "lifetimeSeconds": 3600 }"#,
        output: || {
            object(
                [
                    ("deviceId", string("Device id")),
                    ("moduleId", string("Module id")),
                    ("resource", string("Resource")),
                    ("expiresAt", with(string("Expires"), literal!({ "format": "date-time" }))),
                    ("token", fields::secret("Token")),
                ],
                &["deviceId", "resource", "expiresAt", "token"],
            )
        },
        output_sample: || {
            literal!({
                "deviceId": "press-17",
                "resource": "plant.azure-devices.net/devices/press-17",
                "expiresAt": "2026-05-04T08:30:00.000Z",
                "token": "SharedAccessSignature sr=plant.azure-devices.net%2Fdevices%2Fpress-17&sig=(signature)&se=1777883400"
            })
        },
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let of = input.identity()?;
        let found = session.hub().read_identity(&of)?.document;
        let kind = authentication_type(&found);
        if kind != "sas" {
            let at = if of.module.is_some() { "/moduleId" } else { "/deviceId" };
            let message = format!("has no symmetric key to sign with: its authentication is `{kind}`");
            return Err(Error::field(at, "not-allowed", message));
        }
        let name = if input.text("slot") == Some("secondary") { "secondaryKey" } else { "primaryKey" };
        let key = Secret::new(key_of(&found, name).ok_or_else(no_keys)?);
        let host = session.hub().host_for_devices();
        let path = format!("/{}", of.segments().join("/"));
        let lifetime = Duration::from_secs(input.number("lifetimeSeconds").unwrap_or(USUAL_LIFETIME));
        let (token, expiry) = auth::identity_token(&key, &host, &path, lifetime, session.platform().unix_time());
        let expiry = i64::try_from(expiry).unwrap_or(i64::MAX).saturating_mul(1000);
        let mut output = json!({
            "deviceId": of.device.as_str(),
            "resource": format!("{host}{path}"),
            "expiresAt": instant::rfc3339(expiry),
            "token": token.expose(),
        });
        if let Some(module) = &of.module {
            output["moduleId"] = module.as_str().into();
        }
        Ok(output)
    },
};
