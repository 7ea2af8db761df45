//! What an operator sets: for the process, for one connector and for one tenant.
//!
//! Here are the options and what they are written with, and nothing that acts on them. Limits have a wing of their own,
//! since they are enforced there, too.

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
