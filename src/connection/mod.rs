//! Trying an account out, and its permissions with it.

#[cfg(feature = "amqp")]
mod event_hub_test;
mod test;

pub use test::test;
