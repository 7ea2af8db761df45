//! The guest.
#![allow(missing_docs)]
wit_bindgen::generate!({ world: "exports", path: "wit", generate_all });
