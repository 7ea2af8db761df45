//! Actions on automatic configurations of devices and modules, and on IoT Edge deployments.

mod shared;

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    create_configuration,
    get_configuration,
    update_configuration,
    delete_configuration,
    list_configurations,
    test_configuration_queries,
    apply_configuration_to_device,
}
