//! What the hub keeps: each record with its limits, and how the service reads and writes it as JSON.

pub(crate) mod blob_job;
pub(crate) mod cloud_message;
pub(crate) mod configuration;
pub(crate) mod device;
pub(crate) mod identity;
pub(crate) mod job;
pub(crate) mod method;
pub(crate) mod module;
pub(crate) mod twin;
pub(crate) mod twin_view;
