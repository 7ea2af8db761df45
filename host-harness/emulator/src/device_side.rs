//! What simulated devices do, called in process. It takes the same paths through the emulator as the HTTPS device
//! endpoints.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::now;
use crate::dps::credential::Credential;
use crate::dps::registration::RegistrationState;
use crate::error::{ErrorCode, ServiceError};
use crate::messages::{DeviceMessage, TelemetryMessage};
use crate::operations::connections::set_connected;
use crate::operations::messages::{accept_telemetry, take_messages};
use crate::operations::methods::check_target;
use crate::operations::registration::{Proof, register};
use crate::records::identity::{Status, Target};
use crate::service_bound::{FeedbackStatus, FileUpload};
use crate::sessions::{Handler, MethodCall, MethodReply};
use crate::sync::lock;
use crate::world::Shared;

/// Acts in the place of devices. Cheap to clone.
#[derive(Clone)]
pub struct DeviceSide {
    world: Shared,
}

impl DeviceSide {
    pub(crate) fn new(world: Shared) -> Self {
        Self { world }
    }

    /// Registers with the provisioning service, for the first time or again, and creates the device in the hub.
    ///
    /// The answer may be a registration that failed or is disabled: look at its status.
    ///
    /// # Errors
    /// 401002 when no enrollment fits the credential; 400202 when the registration id is not valid.
    pub async fn provision(
        &self,
        registration_id: &str,
        credential: Credential,
    ) -> Result<RegistrationState, ServiceError> {
        register(&self.world, registration_id, &Proof::Credential(&credential)).map(|(state, _)| state)
    }

    /// Sends reported properties; `null` deletes.
    ///
    /// # Errors
    /// 404001 for an unknown device, 403012 for a disabled one, 400004 when the twin would exceed its limits.
    pub async fn report(&self, device_id: &str, patch: Value) -> Result<(), ServiceError> {
        self.activity(device_id)?;
        lock(&self.world.hub).report(device_id, None, patch).map(drop)
    }

    /// Sends reported properties of a module.
    ///
    /// # Errors
    /// The errors of [`DeviceSide::report`], and 404010 for an unknown module.
    pub async fn report_module(&self, device_id: &str, module_id: &str, patch: Value) -> Result<(), ServiceError> {
        self.activity(device_id)?;
        lock(&self.world.hub).report(device_id, Some(module_id), patch).map(drop)
    }

    /// The device's desired properties, as the device reads them.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn desired(&self, device_id: &str) -> Result<Value, ServiceError> {
        let hub = lock(&self.world.hub);
        Ok(Value::Object(hub.device(device_id)?.twin.desired.values.clone()))
    }

    /// Attaches a simulator that answers the device's direct methods, and connects the device if it exists. It replaces
    /// an earlier simulator of the device.
    pub fn on_method<F, R>(&self, device_id: &str, handler: F)
    where
        F: Fn(MethodCall) -> R + Send + Sync + 'static,
        R: Future<Output = MethodReply> + Send + 'static,
    {
        self.attach(&Target::new(device_id, None), handler);
    }

    /// Attaches a simulator that answers a module's direct methods.
    pub fn on_module_method<F, R>(&self, device_id: &str, module_id: &str, handler: F)
    where
        F: Fn(MethodCall) -> R + Send + Sync + 'static,
        R: Future<Output = MethodReply> + Send + 'static,
    {
        self.attach(&Target::new(device_id, Some(module_id)), handler);
    }

    /// Connects the device.
    ///
    /// # Errors
    /// 404001 for an unknown device, 403012 for a disabled one.
    pub async fn connect(&self, device_id: &str) -> Result<(), ServiceError> {
        self.activity(device_id)?;
        set_connected(&self.world, &Target::new(device_id, None), true);
        Ok(())
    }

    /// Disconnects the device.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn disconnect(&self, device_id: &str) -> Result<(), ServiceError> {
        let target = Target::new(device_id, None);
        check_target(&self.world, &target)?;
        set_connected(&self.world, &target, false);
        Ok(())
    }

    /// Sets the time of the device's last activity to this long ago, as if the device had been silent since.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn be_silent_for(&self, device_id: &str, time: std::time::Duration) -> Result<(), ServiceError> {
        lock(&self.world.hub).device_mut(device_id)?.last_activity = Some(now() - time);
        Ok(())
    }

    /// Sends telemetry.
    ///
    /// # Errors
    /// 404001 for an unknown device, 403012 for a disabled one, 413001 for more than 256 KB.
    pub async fn send_telemetry(&self, message: TelemetryMessage) -> Result<(), ServiceError> {
        accept_telemetry(&self.world, message)
    }

    /// Takes the messages that wait for the device, and completes them.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn take_messages(&self, device_id: &str) -> Result<Vec<DeviceMessage>, ServiceError> {
        take_messages(&self.world, device_id, FeedbackStatus::Success)
    }

    /// Takes the messages that wait for the device, and rejects them.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn reject_messages(&self, device_id: &str) -> Result<Vec<DeviceMessage>, ServiceError> {
        take_messages(&self.world, device_id, FeedbackStatus::Rejected)
    }

    /// Notifies the hub of an uploaded file; the hub passes the notice on to its service side.
    ///
    /// # Errors
    /// 404001 for an unknown device.
    pub async fn upload_file(&self, file: FileUpload) -> Result<(), ServiceError> {
        lock(&self.world.hub).device(&file.device_id)?;
        self.world.service_bound.add_file(file);
        Ok(())
    }

    fn attach<F, R>(&self, target: &Target, handler: F)
    where
        F: Fn(MethodCall) -> R + Send + Sync + 'static,
        R: Future<Output = MethodReply> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        self.world.sessions.change(&target.key(), |session| session.handler = Some(handler));
        set_connected(&self.world, target, true);
    }

    /// Records the time of the device's activity. A disabled device is refused.
    fn activity(&self, device_id: &str) -> Result<(), ServiceError> {
        let mut hub = lock(&self.world.hub);
        let device = hub.device_mut(device_id)?;
        if device.status == Status::Disabled {
            return Err(ServiceError::new(ErrorCode::DEVICE_DISABLED, format!("Device {device_id} is disabled")));
        }
        device.last_activity = Some(now());
        Ok(())
    }
}
