//! Counts of the registry and of connections.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::records::identity::Status;
use crate::sync::lock;
use crate::web::answer::ok;
use crate::world::Shared;

/// `GET /statistics/devices`.
pub(crate) async fn devices(State(world): State<Shared>) -> Response {
    let hub = lock(&world.hub);
    let enabled = hub.devices.iter().filter(|device| device.status == Status::Enabled).count();
    let total = hub.devices.len();
    ok(&json!({
        "totalDeviceCount": total,
        "enabledDeviceCount": enabled,
        "disabledDeviceCount": total - enabled,
    }))
}

/// `GET /statistics/service`.
pub(crate) async fn service(State(world): State<Shared>) -> Response {
    let hub = lock(&world.hub);
    ok(&json!({ "connectedDeviceCount": hub.devices.iter().filter(|device| device.connected).count() }))
}
