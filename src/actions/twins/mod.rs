//! Actions on device twins.

mod get_twin;
mod update_twin;

use super::shared::Action;

/// The actions, in the order in which a person sees them.
pub static ALL: &[&dyn Action] = &[&get_twin::GetTwin, &update_twin::UpdateTwin];
