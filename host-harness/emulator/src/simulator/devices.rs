//! The identities of simulated devices.

use crate::error::{ErrorCode, ServiceError};
use crate::etag::Precondition;
use crate::records::device::DeviceBody;
use crate::sync::lock;
use crate::versions::At;
use crate::world::Shared;

/// Creates the devices that do not exist yet.
pub(crate) fn create_missing<'a>(world: &Shared, devices: impl Iterator<Item = &'a str>) -> Result<(), ServiceError> {
    let mut hub = lock(&world.hub);
    for device in devices {
        match hub.put_device(device, DeviceBody::default(), &Precondition::None, At::INTERNAL) {
            Err(error) if error.code() == ErrorCode::DEVICE_ALREADY_EXISTS => {}
            result => drop(result?),
        }
    }
    Ok(())
}
