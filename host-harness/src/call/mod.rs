//! The life of one call, from the account that it is made on to the guest and back.
//!
//! | file | part of a call |
//! |---|---|
//! | `connector.rs`, `account.rs` | what embedders call |
//! | `loaded.rs` | what is common to the calls of one component: admission, and what a connection leads to |
//! | `admission.rs` | whether it may begin, who may end it, what is reported about it |
//! | `run.rs` | turns, deadline and computing time of one run of the guest; what its end means |
//! | `slot.rs`, `instance.rs` | the instance that is kept between calls, and any instance |
//! | `state.rs`, `bounded.rs` | what a store holds and links |
//! | `exports.rs` | the functions of the interface as they cross the sandbox |
//! | `judge.rs` | whether an answer keeps the limits and the rules |
//! | `runtime.rs` | what all calls of a process share |

mod account;
mod admission;
mod bounded;
mod connector;
pub(crate) mod exports;
mod instance;
mod judge;
mod loaded;
mod run;
mod runtime;
mod slot;
mod state;

pub use account::Account;
pub use connector::Connector;
pub(crate) use loaded::Loaded;
pub(crate) use run::Run;
pub(crate) use runtime::Runtime;
pub(crate) use state::{State, add_to_linker};
