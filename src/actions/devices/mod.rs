//! Actions on device identities.

mod create_device;
mod delete_device;
mod get_device;
mod list_devices;
mod update_device;

use super::shared::Action;

/// The actions, in the order in which a person sees them.
pub static ALL: &[&dyn Action] = &[
    &create_device::CreateDevice,
    &get_device::GetDevice,
    &update_device::UpdateDevice,
    &delete_device::DELETE_DEVICE,
    &list_devices::ListDevices,
];
