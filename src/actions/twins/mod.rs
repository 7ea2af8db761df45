//! Actions on the twins of devices and modules.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    get_twin,
    update_twin,
    replace_twin,
    get_module_twin,
    update_module_twin,
    replace_module_twin,
}
