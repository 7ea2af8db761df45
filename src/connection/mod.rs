//! The connection test, which tries out an account and its permissions.

#[cfg(feature = "amqp")]
mod event_hub_test;
mod test;

pub use test::test;
