//! Deletes a device identity.
//!
//! ```scenario
//! done {"deviceId": "doomed-1", "ifMissing": "ignore"}
//! done {"deviceId": "doomed-1", "ifMissing": "ignore"}
//! done {"deviceId": "doomed-2"} tagged get-device {"deviceId": "doomed-2"}
//! precondition-failed {"deviceId": "press-1", "etag": "$stale"}
//! not-found {"deviceId": "missing"}
//! ```

use crate::actions::shared::removal::Removal;
use crate::auth::Permission;
use crate::form::fields;
use crate::iothub::DeviceId;

pub static DELETE_DEVICE: Removal<DeviceId> = Removal {
    id: "delete-device",
    title: "Delete a device",
    help: "Removes a device identity from the hub's registry, with its twin, its modules and the messages that wait for it. \
           This cannot be undone: to keep a device out for a while, disable it with **Update a device**.",
    group: "Devices",
    field: "deviceId",
    field_title: "Device id",
    field_schema: fields::device_id,
    permissions: &[Permission::RegistryWrite],
    limits: &[("Identity operations of an S1 unit", 100, "requests/minute")],
    read: DeviceId::parse,
    delete: |session, id, if_match| session.hub().delete_device(id, if_match),
};
