//! The options that an operator sets: for the process, for one connector and for one tenant.
//!
//! This folder contains the options and their setters, but no code that acts on them. Limits are in the folder
//! `limits`, because they are enforced there, too.

mod authority;
mod host;
mod load;
mod resolve;
mod tenant;

pub(crate) use authority::{LONGEST_NAME, split_authority};
pub use host::HostOptions;
pub use load::LoadOptions;
pub use resolve::Resolve;
pub use tenant::{HostRule, HostRuleError, TenantOptions, TrustRoots};
