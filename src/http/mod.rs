//! The only way to the HTTP APIs of IoT Hub and DPS: requests are built, signed, sent, retried and judged here.

mod client;
mod codes;
mod document;
mod fault;
mod id;
mod retry;
mod version;

pub use client::{
    Api, Client, NETWORK_REFUSES_LIKE_THAT, Plan, ProbeAnswer, Request, Response, Safety, Service, readable,
};
pub use codes::meaning;
pub use document::{ETag, IfMatch, Page, Tagged, UnreadPage, whole};
pub use fault::Fault;
pub use id::{GivenId, PathId};

#[cfg(test)]
mod tests;
