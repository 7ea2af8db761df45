//! Twins as the service writes them, with the members that a twin shows of its device or module.

use serde_json::{Map, Value, json};

use super::device::Device;
use super::identity::connection_state;
use super::module::Module;
use super::twin::Twin;
use crate::clock::time_or_never;
use crate::store::Store;
use crate::versions::At;

/// A device's twin as the service writes it.
pub(crate) fn of_device(device: &Device) -> Value {
    let mut object = content(&device.twin);
    object["deviceId"] = json!(device.id);
    object["deviceEtag"] = json!(device.etag);
    object["status"] = json!(device.status);
    object["statusUpdateTime"] = json!(time_or_never(device.status_updated));
    object["connectionState"] = json!(connection_state(device.connected));
    object["lastActivityTime"] = json!(time_or_never(device.last_activity));
    object["cloudToDeviceMessageCount"] = json!(device.queue.len());
    object["authenticationType"] = json!(device.authentication.kind);
    object["x509Thumbprint"] = json!(device.authentication.thumbprints);
    object["capabilities"] = json!({ "iotEdge": device.edge });
    device.add_optional(&mut object);
    object
}

/// Adds the attributes, which twins show since version 2024-03-31.
pub(crate) fn add_attributes(twin: &mut Value, attributes: Option<&Map<String, Value>>, at: At) {
    if let Some(attributes) = attributes.filter(|_| at.has_attributes()) {
        twin["attributes"] = json!(attributes);
    }
}

/// A module's twin as the service writes it.
pub(crate) fn of_module(devices: &Store<Device>, module: &Module) -> Option<Value> {
    let device = devices.get(&module.device)?;
    let mut object = content(&module.twin);
    object["deviceId"] = json!(module.device);
    object["moduleId"] = json!(module.id);
    object["deviceEtag"] = json!(module.etag);
    object["status"] = json!(device.status);
    object["statusUpdateTime"] = json!(time_or_never(device.status_updated));
    object["connectionState"] = json!(connection_state(module.connected));
    object["lastActivityTime"] = json!(time_or_never(module.last_activity));
    object["cloudToDeviceMessageCount"] = json!(0);
    object["authenticationType"] = json!(module.authentication.kind);
    object["x509Thumbprint"] = json!(module.authentication.thumbprints);
    Some(object)
}

fn content(twin: &Twin) -> Value {
    json!({
        "etag": twin.etag(),
        "version": twin.version,
        "tags": twin.tags,
        "properties": { "desired": twin.desired.to_json(), "reported": twin.reported.to_json() },
    })
}
