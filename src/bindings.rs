//! The interface's types and the macro for its exports, generated from `wit/`.

#![allow(
    missing_docs,
    unsafe_code,
    unused,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated code; the documentation is in wit/"
)]

wit_bindgen::generate!({
    world: "exports",
    path: "wit",
    generate_all,
    additional_derives: [PartialEq],
    pub_export_macro: true,
    default_bindings_module: "crate::bindings",
});
