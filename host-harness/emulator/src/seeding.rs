//! What a test or demonstration puts into the services before clients come. It passes the checks of the services' own
//! operations.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::dps::kind::Kind;
use crate::emulator::Emulator;
use crate::error::{ServiceError, invalid};
use crate::etag::Precondition;
use crate::records::twin::Change;
use crate::sync::lock;
use crate::versions::At;

impl Emulator {
    /// Creates a device; `body` is what a PUT would send. Without keys in it, the hub makes them.
    ///
    /// # Errors
    /// The same errors as the service's PUT: 409001 when the device exists, 400004 when the body is not valid.
    pub fn add_device(&self, id: &str, body: Value) -> Result<(), ServiceError> {
        let body = read(body)?;
        lock(&self.world.hub).put_device(id, body, &Precondition::None, At::INTERNAL).map(drop)
    }

    /// Creates a module of a device; `body` is what a PUT would send.
    ///
    /// # Errors
    /// The same errors as the service's PUT: 409301 when the module exists, 404001 when the device does not.
    pub fn add_module(&self, device_id: &str, id: &str, body: Value) -> Result<(), ServiceError> {
        let body = read(body)?;
        lock(&self.world.hub).put_module(device_id, id, body, &Precondition::None, At::INTERNAL).map(drop)
    }

    /// Writes tags and desired properties of a device or, with a module id, of a module; `body` is what a PATCH would
    /// send.
    ///
    /// # Errors
    /// The same errors as the service's PATCH: 404001 or 404010 for what does not exist, 400004 for a body that is not
    /// valid.
    pub fn write_twin(&self, device_id: &str, module_id: Option<&str>, body: Value) -> Result<(), ServiceError> {
        let body = read(body)?;
        lock(&self.world.hub).write_twin(device_id, module_id, body, Change::Merge, &Precondition::None)
    }

    /// Creates a configuration; `body` is what a PUT would send.
    ///
    /// # Errors
    /// The same errors as the service's PUT.
    pub fn add_configuration(&self, id: &str, body: Value) -> Result<(), ServiceError> {
        let body = read(body)?;
        lock(&self.world.hub).put_configuration(id, body, &Precondition::None).map(drop)
    }

    /// Creates an individual enrollment; `body` is what a PUT would send, its keys included.
    ///
    /// # Errors
    /// The same errors as the service's PUT: 409 when the enrollment exists, 400 when the body is not valid.
    pub fn add_enrollment(&self, id: &str, body: Value) -> Result<(), ServiceError> {
        lock(&self.world.dps).create(Kind::Individual, id, body)
    }

    /// Creates an enrollment group; `body` is what a PUT would send, its keys included.
    ///
    /// # Errors
    /// The same errors as the service's PUT: 409 when the group exists, 400 when the body is not valid.
    pub fn create_enrollment_group(&self, id: &str, body: Value) -> Result<(), ServiceError> {
        lock(&self.world.dps).create(Kind::Group, id, body)
    }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, ServiceError> {
    // The reader's own message may quote a key.
    serde_json::from_value(body).map_err(|_| invalid("the body does not have the form of this kind of object"))
}
