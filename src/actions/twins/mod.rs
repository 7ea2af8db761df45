//! Actions on device twins.

mod get_twin;
mod update_twin;

use super::shared::Action;

/// In the order in which a person is shown them.
pub static ALL: &[&dyn Action] = &[&get_twin::GetTwin, &update_twin::UpdateTwin];
