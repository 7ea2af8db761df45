//! Calls of the services that no other action makes.

use crate::actions::shared::operations;

operations! {
    custom_request,
}
