//! All records of the hub, and the look-ups that every rule needs.

use std::sync::Arc;

use crate::error::{ErrorCode, ServiceError};
use crate::event_hub::system::SystemEvents;
use crate::journal::Journal;
use crate::records::blob_job::BlobJob;
use crate::records::configuration::Configuration;
use crate::records::device::Device;
use crate::records::identity::{Authentication, Target, module_key};
use crate::records::job::{DeviceJob, Job};
use crate::records::module::Module;
use crate::sessions::Sessions;
use crate::store::Store;

/// The hub's entities.
pub(crate) struct Hub {
    pub(crate) devices: Store<Device>,
    pub(crate) modules: Store<Module>,
    pub(crate) configurations: Store<Configuration>,
    pub(crate) jobs: Store<Job>,
    pub(crate) device_jobs: Store<DeviceJob>,
    pub(crate) blob_jobs: Store<BlobJob>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) events: SystemEvents,
    pub(crate) sessions: Arc<Sessions>,
}

impl Hub {
    pub(crate) fn new(journal: Arc<Journal>, events: SystemEvents, sessions: Arc<Sessions>) -> Self {
        Self {
            devices: Store::default(),
            modules: Store::default(),
            configurations: Store::default(),
            jobs: Store::default(),
            device_jobs: Store::default(),
            blob_jobs: Store::default(),
            journal,
            events,
            sessions,
        }
    }

    pub(crate) fn device(&self, id: &str) -> Result<&Device, ServiceError> {
        self.devices.get(id).ok_or_else(|| device_not_found(id))
    }

    pub(crate) fn device_mut(&mut self, id: &str) -> Result<&mut Device, ServiceError> {
        self.devices.get_mut(id).ok_or_else(|| device_not_found(id))
    }

    pub(crate) fn module(&self, device: &str, module: &str) -> Result<&Module, ServiceError> {
        self.device(device)?;
        self.modules.get(&module_key(device, module)).ok_or_else(|| module_not_found(device, module))
    }

    pub(crate) fn module_mut(&mut self, device: &str, module: &str) -> Result<&mut Module, ServiceError> {
        self.module(device, module)?;
        self.modules.get_mut(&module_key(device, module)).ok_or_else(|| module_not_found(device, module))
    }

    /// How a device or module proves who it is.
    pub(crate) fn authentication_of(&self, target: &Target) -> Option<&Authentication> {
        match target.module {
            None => self.devices.get(&target.device).map(|device| &device.authentication),
            Some(_) => self.modules.get(&target.key()).map(|module| &module.authentication),
        }
    }

    /// The keys that give access to the endpoints of the device or module itself.
    pub(crate) fn keys_of(&self, target: &Target) -> Option<Vec<String>> {
        let keys = self.authentication_of(target)?.symmetric_key.as_ref()?;
        Some(vec![keys.primary.clone(), keys.secondary.clone()])
    }
}

pub(crate) fn device_not_found(id: &str) -> ServiceError {
    ServiceError::new(ErrorCode::DEVICE_NOT_FOUND, format!("Device {id} not registered"))
}

pub(crate) fn module_not_found(device: &str, module: &str) -> ServiceError {
    ServiceError::new(ErrorCode::MODULE_NOT_FOUND, format!("Module {module} not found on device {device}"))
}
