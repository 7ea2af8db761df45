//! Direct methods.

use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{ErrorCode, ServiceError, invalid};
use crate::journal::ChangeKind;
use crate::options::DevicesOnline;
use crate::records::identity::{Status, Target};
use crate::records::method::MethodBody;
use crate::sessions::{MethodCall, MethodReply};
use crate::sync::lock;
use crate::world::World;

const MAX_PAYLOAD: usize = 128 << 10;
const DEFAULT_RESPONSE_TIMEOUT: u64 = 30;

// In seconds. Clients enforce 300 seconds; an older page of the documentation allows an hour.
const MAX_TIMEOUT: u64 = 3600;

/// Calls a method for the method operations, digital twin commands and jobs. Returns the device's own status and its
/// payload.
pub(crate) async fn call(world: &World, target: Target, body: MethodBody) -> Result<(i32, Value), ServiceError> {
    let name = body.method_name.unwrap_or_default();
    if name.is_empty() || name.len() > 100 || name.contains(|c: char| c.is_control() || c == ' ') {
        return Err(invalid("methodName must have 1 to 100 characters and no spaces"));
    }
    if body.payload.to_string().len() > MAX_PAYLOAD {
        return Err(ServiceError::new(
            ErrorCode::MESSAGE_TOO_LARGE,
            format!("the payload of a method may have no more than {MAX_PAYLOAD} bytes"),
        ));
    }
    let response_timeout = body.response_timeout_in_seconds.unwrap_or(DEFAULT_RESPONSE_TIMEOUT);
    let connect_timeout = body.connect_timeout_in_seconds.unwrap_or(0);
    if !(1..=MAX_TIMEOUT).contains(&response_timeout) || connect_timeout > MAX_TIMEOUT {
        return Err(invalid(format!("timeouts must lie between 1 and {MAX_TIMEOUT} seconds")));
    }
    check_target(world, &target)?;
    let key = target.key();
    let call = MethodCall::new(name.clone(), body.payload.clone());
    let outcome = async {
        wait_until_online(world, &target, Duration::from_secs(connect_timeout)).await?;
        let reply = match world.sessions.invoke(&key, call) {
            Some(reply) => tokio::time::timeout(Duration::from_secs(response_timeout), answer(reply)).await,
            None => Ok((200, body.payload.clone())),
        };
        reply.map_err(|_| {
            ServiceError::new(ErrorCode::GATEWAY_TIMEOUT, "Timed out waiting for the response from device.")
        })
    }
    .await;
    let detail = match &outcome {
        Ok((status, payload)) => {
            json!({ "method": name, "payload": body.payload, "status": status, "response": payload })
        }
        Err(error) => json!({ "method": name, "payload": body.payload, "error": error.code().number() }),
    };
    world.journal.append(ChangeKind::MethodInvoked, key, None, detail);
    outcome
}

/// Waits for the device's answer; for ever when there is none.
async fn answer(reply: impl Future<Output = MethodReply>) -> (i32, Value) {
    match reply.await {
        MethodReply::Answer { status, payload } => (status, payload),
        MethodReply::Silence => std::future::pending().await,
    }
}

/// Refuses with 404001 or 404010 when the device or module does not exist.
pub(crate) fn check_target(world: &World, target: &Target) -> Result<(), ServiceError> {
    let hub = lock(&world.hub);
    match &target.module {
        None => hub.device(&target.device).map(drop),
        Some(module) => hub.module(&target.device, module).map(drop),
    }
}

async fn wait_until_online(world: &World, target: &Target, patience: Duration) -> Result<(), ServiceError> {
    let mut changes = world.sessions.subscribe();
    let online = async {
        while !is_online(world, target) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    if is_online(world, target) || tokio::time::timeout(patience, online).await.is_ok() {
        return Ok(());
    }
    Err(ServiceError::new(ErrorCode::DEVICE_NOT_ONLINE, "Timed out waiting for device to connect."))
}

fn is_online(world: &World, target: &Target) -> bool {
    let enabled = lock(&world.hub).devices.get(&target.device).is_some_and(|device| device.status == Status::Enabled);
    enabled
        && match world.sessions.connected(&target.key()) {
            Some(connected) => connected,
            None => world.options.devices_online == DevicesOnline::All,
        }
}
