//! Telemetry under faults: an emulator that misbehaves by a plan, readers that are killed, and a ledger that checks
//! each delivery.
//!
//! | module | what it is |
//! |---|---|
//! | [`events`] | events with every kind of body, and the data that the connector must deliver for each |
//! | [`ledger`] | the promises, and the check of a reader's log against them |
//! | [`plan`] | which faults happen and when, as a seed decides |
//! | [`engine`] | a reader in this process: cold and warm instances, cut off, dropped and restarted |
//! | [`scan`] | a reader of all partitions in this process, with small pages and a filter that holds back most events |
//! | [`program`] | a reader in a process of its own, `connector-host watch`, which is killed at random moments |
//!
//! A seed decides which events are sent, whether they are read over TCP or over WebSockets, which faults happen and
//! when, and when a reader is killed. It does not decide how the operating system schedules the threads. So a seed that
//! broke a promise probably breaks it again, but not certainly.

pub mod engine;
pub mod events;
pub mod ledger;
pub mod plan;
pub mod program;
pub mod scan;
