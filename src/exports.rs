//! The component's exports. Each export calls a function of another module.

use crate::bindings::exports::workflow::connector::{action, connection, discovery, lifecycle, metadata, trigger};
use crate::bindings::workflow::connector::types::{Connection, Error, Json};
use crate::error::Result;
use crate::platform::wasi::WasiPlatform;
use crate::{account, actions, manifest, migrate, triggers};

/// The generated glue between the component's exports and the implementations below.
#[allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    reason = "generated code"
)]
mod glue {
    use super::Component;

    crate::bindings::export!(Component with_types_in crate::bindings);
}

/// The type that implements the exports.
pub struct Component;

const PLATFORM: WasiPlatform = WasiPlatform;

fn out<T>(result: Result<T>) -> std::result::Result<T, Error> {
    result.map_err(Error::from)
}

impl metadata::Guest for Component {
    fn describe() -> metadata::Descriptor {
        manifest::descriptor()
    }
    fn migrate(from_version: String, item: metadata::Stored) -> std::result::Result<metadata::Stored, Error> {
        out(migrate::migrate(&from_version, item))
    }
}

impl connection::Guest for Component {
    fn validate(connection: Connection) -> connection::Validation {
        account::read(&connection).1
    }
    fn test(connection: Connection, deadline_ms: u64) -> std::result::Result<connection::Report, Error> {
        out(crate::connection::test(&PLATFORM, &connection, deadline_ms))
    }
    fn label(connection: Connection) -> std::result::Result<String, Error> {
        out(account::label(&connection))
    }
}

impl discovery::Guest for Component {
    fn options(
        connection: Connection,
        request: discovery::ChoicesRequest,
        deadline_ms: u64,
    ) -> std::result::Result<discovery::Choices, Error> {
        out(crate::discovery::options(&PLATFORM, &connection, &request, deadline_ms))
    }
    fn resolve_schema(
        connection: Connection,
        operation: String,
        direction: discovery::Direction,
        partial: Json,
        deadline_ms: u64,
    ) -> std::result::Result<Json, Error> {
        out(crate::discovery::resolve_schema(&PLATFORM, &connection, &operation, direction, &partial, deadline_ms))
    }
}

impl trigger::Guest for Component {
    fn partitions(
        connection: Connection,
        trigger: String,
        config: Json,
        deadline_ms: u64,
    ) -> std::result::Result<Vec<trigger::Partition>, Error> {
        out(triggers::partitions(&PLATFORM, &connection, &trigger, &config, deadline_ms))
    }
    fn poll(request: trigger::PollRequest) -> std::result::Result<trigger::Page, Error> {
        out(triggers::poll(&PLATFORM, &request))
    }
    fn sample(
        connection: Connection,
        trigger: String,
        config: Json,
        limit: u32,
        deadline_ms: u64,
    ) -> std::result::Result<Vec<trigger::Event>, Error> {
        out(triggers::sample(&PLATFORM, &connection, &trigger, &config, limit, deadline_ms))
    }
    fn subscribe(
        _: Connection,
        trigger: String,
        _: Json,
        _: String,
        _: u64,
    ) -> std::result::Result<trigger::Subscription, Error> {
        out(Err(triggers::no_webhook(&trigger)))
    }
    fn renew(
        _: Connection,
        trigger: String,
        _: Json,
        _: Vec<u8>,
        _: u64,
    ) -> std::result::Result<trigger::Subscription, Error> {
        out(Err(triggers::no_webhook(&trigger)))
    }
    fn unsubscribe(_: Connection, trigger: String, _: Json, _: Vec<u8>, _: u64) -> std::result::Result<(), Error> {
        out(Err(triggers::no_webhook(&trigger)))
    }
    fn receive(
        _: Connection,
        trigger: String,
        _: Json,
        _: Vec<u8>,
        _: trigger::ReceivedRequest,
    ) -> std::result::Result<trigger::Received, Error> {
        out(Err(triggers::no_webhook(&trigger)))
    }
}

impl lifecycle::Guest for Component {
    fn release() {
        crate::lifecycle::release();
    }
}

impl action::Guest for Component {
    fn invoke(
        connection: Connection,
        action: String,
        input: Json,
        call: action::Call,
    ) -> std::result::Result<action::Outcome, Error> {
        out(actions::invoke(&PLATFORM, &connection, &action, &input, &call))
    }
    fn resume(
        connection: Connection,
        action: String,
        token: String,
        call: action::Call,
    ) -> std::result::Result<action::Outcome, Error> {
        out(actions::resume(&PLATFORM, &connection, &action, &token, &call))
    }
    fn invoke_batch(
        connection: Connection,
        action: String,
        inputs: Vec<Json>,
        call: action::Call,
    ) -> std::result::Result<Vec<std::result::Result<action::Outcome, Error>>, Error> {
        out(actions::invoke_batch(&PLATFORM, &connection, &action, &inputs, &call))
            .map(|results| results.into_iter().map(out).collect())
    }
}
