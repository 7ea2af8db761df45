//! Actions on device identities.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    create_device,
    get_device,
    update_device,
    delete_device,
    list_devices,
}
