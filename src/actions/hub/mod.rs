//! Actions on the hub as a whole.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    get_registry_statistics,
    get_service_statistics,
}
