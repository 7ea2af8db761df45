//! The demonstration that `connector-host demo` shows, as a library so that tests can run it.
//!
//! Everything that knows of Azure and of the command line is in this package: the host itself is `connector-host`.

pub mod demo;
