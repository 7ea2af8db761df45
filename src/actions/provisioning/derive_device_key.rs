//! Derives the key of a device in an enrollment group with symmetric keys.
//!
//! ```scenario
//! done {"enrollmentGroupId": "looms", "registrationId": "grouped-9"}
//! done {"enrollmentGroupId": "looms", "registrationId": "grouped-9", "from": "secondaryKey"}
//! invalid-input {"enrollmentGroupId": "made-signed", "registrationId": "grouped-9"}
//! not-found {"enrollmentGroupId": "missing", "registrationId": "grouped-9"}
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::{self, Permission};
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
use crate::error::{Error, ErrorCode, Result};
use crate::form::fields;
use crate::form::schema::{help, literal};
use crate::secret::{Secret, remember};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "derive-device-key",
        title: "Derive a device key",
        help: "Makes the key with which a device of an enrollment group registers, from the group's symmetric key. Only this key belongs on the device, never the group's. \
               It fits one spelling of the registration id: the one here must be the one that the device sends. Nothing is changed at the service, and the device need not exist yet.",
        group: "Enrollments",
        input: &[
            required("enrollmentGroupId", fields::enrollment_group_id),
            required("registrationId", registration_id),
            optional("from", from),
        ],
        input_sample: r#"{ "enrollmentGroupId": "presses", "registrationId": "press-17" }"#,
        output,
        output_sample: || literal!({ "enrollmentGroupId": "presses", "registrationId": "press-17", "deviceKey": "(base64)" }),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let group = input.enrollment_group()?;
        let id = input.registration()?;
        let attestation = session.dps()?.attestation(Kind::Group, &group)?;
        let key = group_key(&attestation, input.text("from").unwrap_or("primaryKey"))?;
        let device_key = derived(&key, id.as_str())?;
        // A text that repeats the key later does not show it.
        remember(&device_key);
        Ok(json!({ "enrollmentGroupId": group.as_str(), "registrationId": id.as_str(), "deviceKey": device_key }))
    },
};

fn registration_id() -> Value {
    let mut schema = help(fields::registration_id(), "Exactly as the device sends it: here, case matters.");
    // The enrollments that could be offered are those of single devices.
    if let Some(members) = schema.as_object_mut() {
        members.remove("x-options");
    }
    schema
}

fn from() -> Value {
    literal!({
        "type": "string",
        "title": "From",
        "description": "The group's key that the device's key is derived from.",
        "enum": ["primaryKey", "secondaryKey"],
        "default": "primaryKey",
        "x-visibility": "advanced"
    })
}

fn output() -> Value {
    literal!({
        "type": "object",
        "properties": {
            "enrollmentGroupId": { "type": "string", "title": "Enrollment group id" },
            "registrationId": { "type": "string", "title": "Registration id" },
            "deviceKey": { "type": "string", "title": "Device key", "description": "Base64.", "format": "password", "x-secret": true }
        },
        "required": ["enrollmentGroupId", "registrationId", "deviceKey"],
        "additionalProperties": false
    })
}

/// One of a group's keys.
fn group_key(attestation: &Value, name: &str) -> Result<Secret> {
    if attestation.get("type").and_then(Value::as_str) != Some("symmetricKey") {
        let message = "has no symmetric keys, so its devices have no derived ones: name a group whose attestation is `symmetricKey`";
        return Err(Error::field("/enrollmentGroupId", "no-key", message));
    }
    let key = attestation.pointer(&format!("/symmetricKey/{name}")).and_then(Value::as_str);
    key.map(Secret::new).ok_or_else(|| no_key("The service did not return the group's key"))
}

/// The HMAC-SHA256 of the registration id under the group's decoded key, in base64 ("Symmetric key attestation").
fn derived(key: &Secret, registration_id: &str) -> Result<String> {
    let mac =
        auth::mac_of(key, registration_id).ok_or_else(|| no_key("The service returned a key that is not base64"))?;
    Ok(STANDARD.encode(mac))
}

fn no_key(message: &str) -> Error {
    Error::new(ErrorCode::Protocol, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published results: the article "Provision devices using symmetric key enrollment groups", and the tests of
    /// Microsoft's Python client for IoT Central.
    #[test]
    fn agrees_with_microsofts_vectors() {
        for (key, id, expected) in [
            (
                "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
                "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6",
                "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=",
            ),
            (
                "r0mxLzPr9gg5DfsaxVhOwKK2+8jEHNclmCeb9iACAyb2A7yHPDrB2/+PTmwnTAetvI6oQkwarWHxYbkIVLybEg==",
                "pytest",
                "XLXPHX5ND3KBL0BU9Y4C3ZIg4/oSSv3QlYZ0eBfbQtE=",
            ),
        ] {
            assert_eq!(derived(&Secret::new(key), id).as_deref(), Ok(expected));
        }
        assert_eq!(derived(&Secret::new("no base64"), "a").expect_err("no key").code(), ErrorCode::Protocol);
    }
}
