//! Misbehaviour on demand: rules that make the emulated services fail in the ways real ones do.

mod action;
mod refusal;
mod rule;
mod rules;
mod syntax;

pub use action::FaultAction;
pub use refusal::{Refusal, RefusalForm};
pub use rule::FaultRule;
pub(crate) use rule::RUN;
pub use rules::Faults;
pub(crate) use rules::SEED;
pub use syntax::FaultSyntaxError;
