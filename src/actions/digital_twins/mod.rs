//! Actions on digital twins: devices as their IoT Plug and Play models describe them.

mod shared;

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    get_digital_twin,
    update_digital_twin,
    invoke_digital_twin_command,
    invoke_component_command,
}
