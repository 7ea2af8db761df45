//! Connections of devices and modules, whatever their protocol: MQTT, AMQP, or none when the device is in process.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::messages::accept_event;
use super::receiving::{LockedMessage, Settlement, receive_message, release_link, settle_message};
use crate::clock::now;
use crate::error::{ErrorCode, ServiceError};
use crate::event_hub::event::TelemetryEvent;
use crate::journal::ChangeKind;
use crate::records::identity::{Status, Target};
use crate::sessions::{MethodReply, ToDevice};
use crate::sync::lock;
use crate::world::{Shared, World};

/// The connection of a device or module that has proved who it is. When it is dropped, the device is disconnected and
/// its unsettled messages return to the queue.
pub(crate) struct DeviceLink {
    world: Shared,
    target: Target,
    id: u64,
}

impl DeviceLink {
    /// Connects a device or module. An earlier connection of it ends ([`ToDevice::Disconnect`]). Methods do not arrive
    /// before [`Self::accept_methods`].
    ///
    /// # Errors
    /// 404001 or 404010 when there is no such device or module, 403012 when the device is disabled.
    pub(crate) fn open(
        world: &Shared,
        target: Target,
    ) -> Result<(Self, mpsc::UnboundedReceiver<ToDevice>), ServiceError> {
        check_enabled(world, &target)?;
        let (sink, received) = mpsc::unbounded_channel();
        let id = world.sessions.link(&target.key(), sink);
        set_connected(world, &target, true);
        Ok((Self { world: world.clone(), target, id }, received))
    }

    /// The device or module.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// States whether the device receives methods; without it, it is offline for them.
    pub(crate) fn accept_methods(&self, accepts: bool) {
        self.world.sessions.accept_methods(&self.target.key(), self.id, accepts);
    }

    /// Answers a method. Returns whether somebody still waits for the answer.
    pub(crate) fn answer_method(&self, request: &str, status: i32, payload: Value) -> bool {
        let reply = MethodReply::answer(status, payload);
        self.world.sessions.answer(&self.target.key(), self.id, request, reply)
    }

    /// The twin as a device reads it: desired and reported properties, each with `$version`.
    ///
    /// # Errors
    /// 404001 or 404010 when the device or module was deleted.
    pub(crate) fn read_twin(&self) -> Result<Value, ServiceError> {
        let mut hub = lock(&self.world.hub);
        let twin = hub.twin_mut(&self.target.device, self.target.module.as_deref())?;
        let section = |section: &crate::records::twin::Section| {
            let mut values = section.values.clone();
            values.insert("$version".to_owned(), json!(section.version));
            Value::Object(values)
        };
        Ok(json!({ "desired": section(&twin.desired), "reported": section(&twin.reported) }))
    }

    /// Writes reported properties; `null` deletes. Returns their new version.
    ///
    /// # Errors
    /// 400004 when the twin would exceed its limits; 404001 or 404010 when the device or module was deleted.
    pub(crate) fn report(&self, patch: Value) -> Result<u64, ServiceError> {
        lock(&self.world.hub).report(&self.target.device, self.target.module.as_deref(), patch)
    }

    /// Sends telemetry. The device and module of the event are set here.
    ///
    /// # Errors
    /// 413001 for more than 256 KB, 403012 for a disabled device; 404001 or 404010 when it was deleted.
    pub(crate) fn send(&self, mut event: TelemetryEvent) -> Result<(), ServiceError> {
        event.device_id.clone_from(&self.target.device);
        event.module_id.clone_from(&self.target.module);
        accept_event(&self.world, event)
    }

    /// Locks the oldest waiting message; the lock ends with the connection.
    ///
    /// # Errors
    /// 404001 or 404010 when the device or module was deleted.
    pub(crate) fn receive(&self) -> Result<Option<LockedMessage>, ServiceError> {
        receive_message(&self.world, &self.target, Some(self.id))
    }

    /// Settles a message by its lock token.
    ///
    /// # Errors
    /// 412002 when the lock is unknown.
    pub(crate) fn settle(&self, token: &str, settlement: Settlement) -> Result<(), ServiceError> {
        settle_message(&self.world, &self.target, token, settlement)
    }
}

impl Drop for DeviceLink {
    fn drop(&mut self) {
        let was_current = self.world.sessions.unlink(&self.target.key(), self.id);
        release_link(&self.world, &self.target, self.id);
        // The successor of a connection that was taken over is connected, or about to be.
        if was_current && !self.world.sessions.has_link(&self.target.key()) {
            set_connected(&self.world, &self.target, false);
        }
    }
}

/// Refuses a disabled device with 403012, and what does not exist with 404001 or 404010.
pub(crate) fn check_enabled(world: &World, target: &Target) -> Result<(), ServiceError> {
    let hub = lock(&world.hub);
    let device = hub.device(&target.device)?;
    if device.status == Status::Disabled {
        return Err(ServiceError::new(ErrorCode::DEVICE_DISABLED, format!("Device {} is disabled", target.device)));
    }
    match &target.module {
        Some(module) => hub.module(&target.device, module).map(drop),
        None => Ok(()),
    }
}

/// Writes down that a device or module connected or disconnected. A change of state makes a system event.
pub(crate) fn set_connected(world: &World, target: &Target, connected: bool) {
    let now = now();
    let mut hub = lock(&world.hub);
    let key = target.key();
    let known = match target.module {
        None => hub
            .devices
            .get_mut(&key)
            .map(|device| (&mut device.connected, &mut device.connection_updated, &mut device.last_activity)),
        Some(_) => hub
            .modules
            .get_mut(&key)
            .map(|module| (&mut module.connected, &mut module.connection_updated, &mut module.last_activity)),
    };
    if let Some((state, updated, activity)) = known
        && *state != connected
    {
        *state = connected;
        *updated = Some(now);
        *activity = Some(now);
        let detail = json!({ "connected": connected });
        world.journal.append(ChangeKind::ConnectionChanged, key.as_str(), None, detail);
        world.system_events.connection(&target.device, target.module.as_deref(), connected);
    }
    drop(hub);
    world.sessions.change(&key, |session| session.connected = Some(connected));
}
