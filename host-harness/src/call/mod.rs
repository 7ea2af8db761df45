//! The life of one call: from the account through the sandbox to the guest, and back.
//!
//! | file | part of a call |
//! |---|---|
//! | `connector.rs`, `account.rs` | what embedders call |
//! | `loaded.rs` | what all calls of one component share: admission, and the allow list derived from a connection |
//! | `admission.rs` | whether a call may begin, who may end it, which metrics it reports |
//! | `run.rs` | turn, deadline and CPU time of one run of a guest's function; what the end of a run means |
//! | `slot.rs`, `instance.rs` | the instance that is kept between calls; instances in general |
//! | `state.rs` | the contents of a store |
//! | `linking.rs`, `bounded.rs`, `responses.rs` | the functions that a guest may import |
//! | `exports.rs` | the functions of the interface as they cross the sandbox |
//! | `judge.rs` | whether an answer obeys the limits and the rules of the interface |
//! | `runtime.rs` | what all calls of a process share |

mod account;
mod admission;
mod bounded;
mod connector;
pub(crate) mod exports;
mod instance;
mod judge;
mod linking;
mod loaded;
mod responses;
mod run;
mod runtime;
mod slot;
mod state;

pub use account::Account;
pub use connector::Connector;
pub(crate) use linking::add_to_linker;
pub(crate) use loaded::Loaded;
pub(crate) use run::Run;
pub(crate) use runtime::Runtime;
pub(crate) use state::State;
