//! The interface's types and export glue, generated from `wit/`.

#![allow(
    missing_docs,
    unsafe_code,
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

#[cfg(target_family = "wasm")]
export!(Export with_types_in crate::bindings);
#[cfg(target_family = "wasm")]
use crate::exports::Component as Export;
