//! Tests for authors of connectors: the conformance rules, and the example that is written with the kit.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

mod conformance;
mod example;

#[allow(dead_code, reason = "the hostile tests need more of it")]
#[path = "../hostile/plugin.rs"]
mod plugin;
#[allow(dead_code, reason = "the hostile tests need more of it")]
#[path = "../hostile/server.rs"]
mod server;
