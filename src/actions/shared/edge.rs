//! Parents and children of IoT Edge devices. A device names its parent by the parent's scope.

use serde_json::Value;

use crate::error::{Error, Result};

/// How the scope of an IoT Edge device begins; its id, a hyphen and its generation follow.
const PREFIX: &str = "ms-azure-iot-edge://";

/// Whether a device is an IoT Edge device.
pub fn is_edge(device: &Value) -> bool {
    device.pointer("/capabilities/iotEdge") == Some(&Value::Bool(true))
}

/// The scope of an IoT Edge device, by which its children name it.
///
/// # Errors
/// `invalid-input` at `pointer` for another device.
pub fn scope_of(device: &Value, pointer: &str) -> Result<String> {
    let scope = device.get("deviceScope").and_then(Value::as_str).filter(|scope| is_edge(device) && !scope.is_empty());
    scope.map(str::to_owned).ok_or_else(|| {
        Error::field(pointer, "not-allowed", "must be an IoT Edge device: only such a device can have children")
    })
}

/// The scopes of a device's parents. A device that is no IoT Edge device shares its parent's scope, and older hubs state
/// only this scope.
pub fn parents_of(device: &Value) -> Vec<String> {
    let listed = device.get("parentScopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut scopes: Vec<String> = listed.map(str::to_owned).collect();
    let own = device.get("deviceScope").and_then(Value::as_str).unwrap_or_default();
    if scopes.is_empty() && !is_edge(device) && !own.is_empty() {
        scopes.push(own.to_owned());
    }
    scopes
}

/// The id of the device that a scope belongs to, as the Azure CLI reads it.
pub fn device_of(scope: &str) -> &str {
    let rest = scope.strip_prefix(PREFIX).unwrap_or(scope);
    rest.rsplit_once('-').map_or(rest, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scope_names_its_device() {
        for (scope, device) in [
            ("ms-azure-iot-edge://gateway-1-638675123456789012", "gateway-1"),
            ("ms-azure-iot-edge://a-1", "a"),
            ("ms-azure-iot-edge://x", "x"),
            ("", ""),
        ] {
            assert_eq!(device_of(scope), device);
        }
    }

    #[test]
    fn a_leaf_has_its_parents_scope_and_an_edge_device_its_own() {
        let leaf = json!({ "deviceScope": "s", "capabilities": { "iotEdge": false } });
        assert_eq!(parents_of(&leaf), ["s"]);
        assert!(scope_of(&leaf, "/deviceId").is_err());
        let edge = json!({ "deviceScope": "s", "capabilities": { "iotEdge": true } });
        assert_eq!(parents_of(&edge), Vec::<String>::new());
        assert_eq!(scope_of(&edge, "/deviceId").as_deref(), Ok("s"));
        let nested = json!({ "deviceScope": "s", "parentScopes": ["p"], "capabilities": { "iotEdge": true } });
        assert_eq!(parents_of(&nested), ["p"]);
        assert_eq!(parents_of(&json!({ "deviceScope": "" })), Vec::<String>::new());
    }
}
