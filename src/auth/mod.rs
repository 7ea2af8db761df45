//! Authorization: shared access signatures, and the instance's cache of them.

mod cache;
mod known;
mod permission;
mod sas;

pub use cache::{
    event_hub_resource, event_hub_token, hub_token, learn_host_scope, learn_skew, same_clock, skew, token,
};
pub use known::{remember, strike};
pub use permission::{Permission, Probe};
pub use sas::{Dialect, SharedAccessKey, decode_key, percent_encode, sign};
