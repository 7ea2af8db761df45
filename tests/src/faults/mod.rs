//! Telemetry while everything fails: an emulator that misbehaves by a plan, readers that are killed, and a ledger that
//! checks each delivery.
//!
//! | module | what it is |
//! |---|---|
//! | [`events`] | events with bodies of every kind, and what the connector has to make of each |
//! | [`ledger`] | the promises, checked entry by entry over the log of a reader |
//! | [`plan`] | what fails and when, drawn from a seed |
//! | [`engine`] | a reader in this process: cold and warm instances, cut off, thrown away, restarted |
//! | [`scan`] | a reader of all partitions in this process, with small pages and a filter that holds most back |
//! | [`program`] | a reader that is a process of its own, `connector-host watch`, killed at any moment |
//!
//! A seed decides what is sent, whether it is read over TCP or over WebSockets, which faults there are and at which event or connection, and when a reader is killed. What
//! the operating system schedules in between is its own: a seed that broke a promise breaks it again with a high
//! probability, not with certainty.

pub mod engine;
pub mod events;
pub mod ledger;
pub mod plan;
pub mod program;
pub mod scan;
