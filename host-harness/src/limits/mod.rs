//! Limits on what one call and one tenant may use, and the order in which waiting tenants are served.
//!
//! | file | what it bounds |
//! |---|---|
//! | `settings.rs` | the limits, their names, and the error that reports an exceeded limit |
//! | `budget.rs` | bytes that several users share; memory and tables of one wasmtime store |
//! | `fair.rs` | how many things happen at the same time over all tenants, and how many in a second |
//! | `processor.rs` | how many guests compute at the same time |
//! | `cpu.rs` | the computing time of one call |
//! | `lines.rs` | the lines that libraries log about one call |

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
