//! The state of the provisioning service, and the rules by which the state changes. No HTTP.

pub(crate) mod attestation;
pub(crate) mod certificate_info;
pub(crate) mod credential;
pub(crate) mod enrollment;
pub(crate) mod kind;
pub(crate) mod provisioning;
pub(crate) mod registration;
