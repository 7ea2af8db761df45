//! Authorization: shared access signatures, and the instance's cache of them.

mod cache;
mod permission;
mod sas;

#[cfg(test)]
mod tests;

pub use cache::{
    event_hub_resource, event_hub_token, hub_token, learn_host_scope, learn_skew, same_clock, skew, token,
};
pub use permission::{Permission, Probe};
pub use sas::{Dialect, SharedAccessKey, decode_key, mac_of, sign};
