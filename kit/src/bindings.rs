//! Generated from `wit/`.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated code; the documentation is in wit/"
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "workflow:connector/exports",
    pub_export_macro: true,
    default_bindings_module: "connector_kit::bindings",
});
