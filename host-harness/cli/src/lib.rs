//! The demonstration that `connector-host demo` shows, as a library so that tests can run it.
//!
//! This package holds all code about Azure and about the command line. The host library is the package
//! `connector-host`.

pub mod demo;
