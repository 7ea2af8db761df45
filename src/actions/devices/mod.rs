//! Actions on device identities.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    create_device,
    get_device,
    update_device,
    delete_device,
    list_devices,
    list_registry_devices,
    create_devices,
    update_devices,
    delete_devices,
    rotate_device_keys,
    rotate_keys_of_devices,
    create_device_connection_string,
    create_device_sas_token,
    set_device_parent,
    get_device_parents,
    list_child_devices,
}
