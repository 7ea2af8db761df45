//! Changes an identity without losing members that the usual version of the API does not know.
//!
//! A PUT replaces the identity, and each API version shows and accepts only its own members. So an identity is read at
//! the newest version that the hub supports. If it has members that the usual version does not know, or belongs to a
//! Device Registry, it is written at the version at which it was read. Any other identity is written at the usual
//! version, which is stable.
//!
//! | version | the members that it added to Device and Module |
//! |---|---|
//! | 2021-04-12 | none: this is the usual version |
//! | 2024-03-31 | `attributes` |
//! | 2026-11-01-preview | `adrDeviceProperties`, `deviceResourceId`, `armSyncStatus`; in `authentication`: `policyResourceId`, `x509CaValidation` |
//!
//! Source: the generated clients of the Azure CLI's IoT extension, whose released versions use the two newer API
//! versions.

use serde_json::Value;

/// The versions at which an identity is read, the newest first.
pub const VERSIONS: &[&str] = &["2026-11-01-preview", "2024-03-31", "2021-04-12"];

/// Members that Device Registry and Azure Resource Manager manage. The Azure CLI never writes them
/// (`OWNED_IDENTITY_FIELDS`).
const OWNED: [&str; 3] = ["adrDeviceProperties", "deviceResourceId", "armSyncStatus"];

/// The members of a device or a module in version 2021-04-12.
const USUAL: [&str; 16] = [
    "deviceId",
    "generationId",
    "etag",
    "connectionState",
    "status",
    "statusReason",
    "connectionStateUpdatedTime",
    "statusUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authentication",
    "capabilities",
    "deviceScope",
    "parentScopes",
    "moduleId",
    "managedBy",
];
/// The members of a device's `authentication` in version 2021-04-12.
const USUAL_AUTHENTICATION: [&str; 3] = ["symmetricKey", "x509Thumbprint", "type"];

/// Whether the identity has members that the usual version does not know.
pub fn needs_newer_version(device: &Value) -> bool {
    let beyond = |object: Option<&Value>, known: &[&str]| {
        let members = object.and_then(Value::as_object);
        members.is_some_and(|members| {
            members.iter().any(|(name, value)| !known.contains(&name.as_str()) && !says_nothing(value))
        })
    };
    beyond(Some(device), &USUAL) || beyond(device.get("authentication"), &USUAL_AUTHENTICATION)
}

/// Removes the members that only the service may write, and empty members of newer versions.
pub fn make_writable(device: &mut Value) {
    let clear = |object: Option<&mut Value>, known: &[&str]| {
        if let Some(members) = object.and_then(Value::as_object_mut) {
            members.retain(|name, value| known.contains(&name.as_str()) || !says_nothing(value));
        }
    };
    if let Some(members) = device.as_object_mut() {
        members.retain(|name, _| !OWNED.contains(&name.as_str()));
    }
    clear(Some(device), &USUAL);
    clear(device.get_mut("authentication"), &USUAL_AUTHENTICATION);
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn classic() -> Value {
        json!({
            "deviceId": "d", "etag": "MQ==", "status": "enabled", "statusReason": null,
            "authentication": { "type": "sas", "symmetricKey": {}, "x509Thumbprint": { "primaryThumbprint": null } },
        })
    }

    #[test]
    fn a_classic_identity_is_written_as_ever() {
        let mut device = classic();
        assert!(!needs_newer_version(&device));
        make_writable(&mut device);
        assert_eq!(device, classic());
    }

    #[test]
    fn members_of_newer_versions_that_hold_nothing_are_left_out() {
        let mut device = classic();
        device["attributes"] = json!({});
        device["adrDeviceProperties"] = json!(null);
        device["authentication"]["policyResourceId"] = json!(null);
        assert!(!needs_newer_version(&device));
        make_writable(&mut device);
        assert_eq!(device, classic());
    }

    #[test]
    fn what_is_owned_is_taken_out_and_the_rest_kept() {
        for (pointer, value, kept) in [
            ("/adrDeviceProperties", json!({ "uuid": "u" }), false),
            ("/deviceResourceId", json!("/subscriptions/s"), false),
            ("/armSyncStatus", json!({ "state": "Succeeded" }), false),
            ("/attributes", json!({ "armSyncStatus": "mine" }), true),
            ("/unheardOf", json!(false), true),
            ("/authentication/policyResourceId", json!("/subscriptions/s"), true),
            ("/authentication/x509CaValidation", json!({ "scheme": "s", "value": {} }), true),
        ] {
            let mut device = classic();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            device.pointer_mut(parent).expect("an object")[name] = value;
            assert!(needs_newer_version(&device), "{pointer}");
            let full = device.clone();
            make_writable(&mut device);
            assert_eq!(device, if kept { full } else { classic() }, "{pointer}");
        }
    }

    #[test]
    fn answers_of_another_shape_do_no_harm() {
        for mut odd in [json!(null), json!([]), json!({ "authentication": 5 }), json!({ "authentication": null })] {
            let before = odd.clone();
            assert!(!needs_newer_version(&odd));
            make_writable(&mut odd);
            assert_eq!(odd, before);
        }
    }
}
