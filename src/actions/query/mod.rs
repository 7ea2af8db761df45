//! Queries in the hub's query language.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    query_hub,
    query_devices_by_conditions,
}
