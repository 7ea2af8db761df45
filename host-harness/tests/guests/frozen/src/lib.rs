//! A connector for the frozen interface 0.1.0. It counts its calls, and does not export `lifecycle`.

use std::cell::Cell;

wit_bindgen::generate!({
    // The order matters: every package must come after the packages that it refers to, so the frozen package is last.
    path: [
        "../../../../wit/deps/io.wit",
        "../../../../wit/deps/clocks.wit",
        "../../../../wit/deps/random.wit",
        "../../../../wit/deps/filesystem.wit",
        "../../../../wit/deps/sockets.wit",
        "../../../../wit/deps/cli.wit",
        "../../../../wit/deps/http.wit",
        "../../../../wit/frozen/0.1.0",
    ],
    world: "workflow:connector/exports@0.1.0",
});

use exports::workflow::connector::action::{Call, Outcome};
use exports::workflow::connector::connection::{Report, Validation};
use exports::workflow::connector::discovery::{Choices, ChoicesRequest, Direction};
use exports::workflow::connector::metadata::{
    ActionDescriptor, AuthProfile, Descriptor, Effect, Idempotency, Operation, Stored,
};
use exports::workflow::connector::trigger::{
    Event, Page, Partition, PollRequest, Received, ReceivedRequest, Subscription,
};
use workflow::connector::types::{Connection, EffectState, Error, ErrorCode, Retry};

struct Guest;
export!(Guest);

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

fn unsupported<T>() -> Result<T, Error> {
    Err(Error {
        code: ErrorCode::Unsupported,
        message: "not in this connector".to_owned(),
        detail: None,
        fields: Vec::new(),
        item: None,
        retry: Retry::Never,
        effect: EffectState::None,
        service: None,
        missing_permission: None,
    })
}

impl exports::workflow::connector::metadata::Guest for Guest {
    fn describe() -> Descriptor {
        let object = r#"{"type":"object"}"#.to_owned();
        let operation = Operation {
            id: "count".to_owned(),
            revision: 1,
            deprecated_by: None,
            title: "Count".to_owned(),
            help: String::new(),
            group: "Test".to_owned(),
            input_schema: object.clone(),
            output_schema: r#"{"type":"integer"}"#.to_owned(),
            input_sample: "{}".to_owned(),
            output_sample: "1".to_owned(),
            dynamic_input: false,
            dynamic_output: false,
            permissions: Vec::new(),
            limits: Vec::new(),
        };
        Descriptor {
            id: "frozen-test".to_owned(),
            version: "1.0.0".to_owned(),
            interface_version: "0.1.0".to_owned(),
            title: "Frozen test".to_owned(),
            help: String::new(),
            auth_profiles: vec![AuthProfile {
                id: "none".to_owned(),
                title: "None".to_owned(),
                help: String::new(),
                schema: object,
            }],
            permissions: Vec::new(),
            triggers: Vec::new(),
            actions: vec![ActionDescriptor {
                operation,
                effect: Effect::Read,
                idempotency: Idempotency::Natural,
                paged: false,
            }],
            egress: Vec::new(),
            unsupported: Vec::new(),
        }
    }

    fn migrate(_from_version: String, item: Stored) -> Result<Stored, Error> {
        Ok(item)
    }
}

impl exports::workflow::connector::connection::Guest for Guest {
    fn validate(connection: Connection) -> Validation {
        Validation { problems: Vec::new(), normalized: connection.values }
    }

    fn test(_: Connection, _: u64) -> Result<Report, Error> {
        Ok(Report { checks: Vec::new(), permissions: Vec::new(), usable: vec!["count".to_owned()] })
    }

    fn label(_: Connection) -> Result<String, Error> {
        Ok("test".to_owned())
    }
}

impl exports::workflow::connector::discovery::Guest for Guest {
    fn options(_: Connection, _: ChoicesRequest, _: u64) -> Result<Choices, Error> {
        unsupported()
    }

    fn resolve_schema(_: Connection, _: String, _: Direction, _: String, _: u64) -> Result<String, Error> {
        unsupported()
    }
}

impl exports::workflow::connector::trigger::Guest for Guest {
    fn partitions(_: Connection, _: String, _: String, _: u64) -> Result<Vec<Partition>, Error> {
        unsupported()
    }

    fn poll(_: PollRequest) -> Result<Page, Error> {
        unsupported()
    }

    fn sample(_: Connection, _: String, _: String, _: u32, _: u64) -> Result<Vec<Event>, Error> {
        unsupported()
    }

    fn subscribe(_: Connection, _: String, _: String, _: String, _: u64) -> Result<Subscription, Error> {
        unsupported()
    }

    fn renew(_: Connection, _: String, _: String, _: Vec<u8>, _: u64) -> Result<Subscription, Error> {
        unsupported()
    }

    fn unsubscribe(_: Connection, _: String, _: String, _: Vec<u8>, _: u64) -> Result<(), Error> {
        unsupported()
    }

    fn receive(_: Connection, _: String, _: String, _: Vec<u8>, _: ReceivedRequest) -> Result<Received, Error> {
        unsupported()
    }
}

impl exports::workflow::connector::action::Guest for Guest {
    fn invoke(_: Connection, _: String, _: String, _: Call) -> Result<Outcome, Error> {
        Ok(Outcome::Done((CALLS.replace(CALLS.get() + 1) + 1).to_string()))
    }

    fn resume(_: Connection, _: String, _: String, _: Call) -> Result<Outcome, Error> {
        unsupported()
    }

    fn invoke_batch(_: Connection, _: String, _: Vec<String>, _: Call) -> Result<Vec<Result<Outcome, Error>>, Error> {
        unsupported()
    }
}
