//! What one call, and one tenant, may use up, and who has the next turn.
//!
//! | file | what it bounds |
//! |---|---|
//! | `settings.rs` | the numbers, their names and the errors about them |
//! | `budget.rs` | bytes that several parts share; memory and tables of one store |
//! | `fair.rs` | things that happen at the same time, over all tenants, and rates |
//! | `processor.rs` | guests that compute at the same time |
//! | `cpu.rs` | computing time of one call |
//! | `lines.rs` | what libraries log about one call |

mod budget;
pub(crate) mod cpu;
pub(crate) mod fair;
pub(crate) mod lines;
pub(crate) mod processor;
mod settings;

pub(crate) use budget::{ByteBudget, LimitHit, Reservation, StoreLimiter};
#[cfg(test)]
pub(crate) use settings::tests;
pub(crate) use settings::{EPOCH_TICK, after, from_now, permits};
pub use settings::{LimitExceeded, LimitName, Limits};
