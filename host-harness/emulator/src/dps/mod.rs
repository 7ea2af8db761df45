//! What the provisioning service keeps, and the rules by which it changes. No HTTP.

pub(crate) mod attestation;
mod certificate_info;
pub(crate) mod credential;
pub(crate) mod enrollment;
pub(crate) mod kind;
pub(crate) mod provisioning;
pub(crate) mod registration;
