//! Actions on the identities of devices' modules.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    create_module,
    get_module,
    update_module,
    delete_module,
    list_modules,
}
