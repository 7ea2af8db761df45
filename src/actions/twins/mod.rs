//! Actions on device twins.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    get_twin,
    update_twin,
}
