//! For authors of connectors: the bindings of the interface, and code that most connectors need.
//!
//! Implement [`Connector`], and give the type to [`export!`]. A form is declared once and gives both the JSON Schema
//! and the checks ([`form`]). Unknown operations and malformed inputs, configurations and connections are refused
//! before your code is called. A function that you leave out answers `unsupported`. `examples/http` is a whole
//! connector in 200 lines.

mod adapter;
pub mod bindings;
pub mod form;
pub mod http;

use serde_json::Value;

pub use adapter::Adapter;
pub use bindings::exports::workflow::connector::action::{Call, Outcome};
pub use bindings::exports::workflow::connector::connection::{Check, CheckOutcome, Report};
pub use bindings::exports::workflow::connector::discovery::{Choices, ChoicesRequest, Direction};
pub use bindings::exports::workflow::connector::metadata::{
    ActionDescriptor, AuthProfile, Descriptor, Effect, EgressProtocol, EgressRule, Idempotency, Operation, StartMode,
    Stored, TriggerDescriptor, TriggerKind,
};
pub use bindings::exports::workflow::connector::trigger::{
    Event, Page, Partition, Payload, PollRequest, Received, ReceivedRequest, Start, Subscription,
};
pub use bindings::workflow::connector::types::{
    Connection, Cursor, EffectState, Error, ErrorCode, FieldProblem, Retry, Severity,
};
use form::{Field, Values};

/// The result of a function that can fail.
pub type Answer<T> = Result<T, Error>;

/// The only partition of each trigger.
pub const PARTITION: &str = "all";

/// A connector with one auth profile. A function that you leave out answers `unsupported`.
pub trait Connector {
    /// The form of an account. Its values go into `validation.normalized`, except secrets.
    const ACCOUNT: &'static [Field];
    /// The form of each trigger's configuration and of each action's input, by the operation's id.
    const FORMS: &'static [(&'static str, &'static [Field])];

    /// The connector's descriptor. See [`descriptor`], [`operation`], [`action`], [`trigger`] and [`https`].
    fn describe() -> Descriptor;

    /// Checks whether the account works. Must not change anything at the service.
    fn test(account: &Values, deadline_ms: u64) -> Answer<Report>;

    /// The name that lists show for the account.
    fn label(account: &Values) -> String;

    /// Converts a stored item of an older version. By default, the item does not change.
    fn migrate(_from_version: &str, item: Stored) -> Answer<Stored> {
        Ok(item)
    }

    /// The values that a person can choose for a field.
    fn options(_account: &Values, _request: &ChoicesRequest, _deadline_ms: u64) -> Answer<Choices> {
        unsupported()
    }

    /// The next events. The page must keep `budget`, and the same events must come again for the same cursor.
    fn poll(_account: &Values, _config: &Values, _request: &PollRequest) -> Answer<Page> {
        unsupported()
    }

    /// Example events.
    fn sample(_account: &Values, _trigger: &str, _config: &Values, _limit: u32, _ms: u64) -> Answer<Vec<Event>> {
        unsupported()
    }

    /// Asks the service to call `url`. Without `url`, renews the subscription that `state` describes.
    fn subscribe(_account: &Values, _trigger: &str, _url: Option<&str>, _state: &[u8]) -> Answer<Subscription> {
        unsupported()
    }

    /// Ends a subscription, so that the service makes no more calls.
    fn unsubscribe(_account: &Values, _trigger: &str, _state: &[u8]) -> Answer<()> {
        unsupported()
    }

    /// Handles a request that came for a subscription. Anybody can send such a request, so check its signature.
    fn receive(_account: &Values, _trigger: &str, _request: &ReceivedRequest) -> Answer<Received> {
        unsupported()
    }

    /// Runs an action.
    fn invoke(_account: &Values, _action: &str, _input: &Values, _call: &Call) -> Answer<Outcome> {
        unsupported()
    }

    /// Continues an action after a `page` or a `pending` outcome.
    fn resume(_account: &Values, _action: &str, _token: &str, _call: &Call) -> Answer<Outcome> {
        unsupported()
    }

    /// Closes all that the instance keeps open. The engine calls it before it drops the instance.
    fn release() {}
}

/// Makes a component of a type that implements [`Connector`].
#[macro_export]
macro_rules! export {
    ($connector:ty) => {
        type Exported = $crate::Adapter<$connector>;
        #[allow(unsafe_code, reason = "generated code")]
        const _: () = {
    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}

/// An error for a call that changed nothing at the service.
pub fn error(code: ErrorCode, retry: Retry, message: impl Into<String>) -> Error {
    Error {
        code,
        message: message.into(),
        detail: None,
        fields: Vec::new(),
        item: None,
        retry,
        effect: EffectState::None,
        service: None,
        missing_permission: None,
    }
}

/// The result of a function that this connector does not offer.
pub fn unsupported<T>() -> Answer<T> {
    Err(error(ErrorCode::Unsupported, Retry::Never, "This connector does not offer this function."))
}

/// The error for a wrong input at this JSON Pointer.
pub fn invalid(pointer: &str, problem: &str) -> Error {
    let mut error = error(ErrorCode::InvalidInput, Retry::Never, format!("{pointer} {problem}."));
    error.fields.push(form::problem(pointer, "unusable", problem));
    error
}

/// A descriptor without operations.
pub fn descriptor(id: &str, version: &str, title: &str, help: &str) -> Descriptor {
    Descriptor {
        id: id.to_owned(),
        version: version.to_owned(),
        interface_version: "0.2.0".to_owned(),
        title: title.to_owned(),
        help: help.to_owned(),
        auth_profiles: Vec::new(),
        permissions: Vec::new(),
        triggers: Vec::new(),
        actions: Vec::new(),
        egress: Vec::new(),
        unsupported: Vec::new(),
    }
}

/// The auth profile whose form is [`Connector::ACCOUNT`].
pub fn profile<C: Connector>(id: &str, title: &str, help: &str) -> AuthProfile {
    let schema = form::schema(C::ACCOUNT).to_string();
    AuthProfile { id: id.to_owned(), title: title.to_owned(), help: help.to_owned(), schema }
}

/// An operation whose form has this id. `output` is its output's schema and a sample.
pub fn operation<C: Connector>(id: &str, title: &str, help: &str, input: &Value, output: [&Value; 2]) -> Operation {
    let [output_schema, output_sample] = output.map(ToString::to_string);
    Operation {
        id: id.to_owned(),
        revision: 1,
        deprecated_by: None,
        title: title.to_owned(),
        help: help.to_owned(),
        group: String::from("All"),
        input_schema: form::schema(form::of::<C>(id).unwrap_or_default()).to_string(),
        output_schema,
        input_sample: input.to_string(),
        output_sample,
        dynamic_input: false,
        dynamic_output: false,
        permissions: Vec::new(),
        limits: Vec::new(),
    }
}

/// One check of a report. It passed if there is no error.
pub fn check(id: &str, title: &str, error: Option<Error>) -> Check {
    Check {
        id: id.to_owned(),
        title: title.to_owned(),
        outcome: if error.is_some() { CheckOutcome::Fail } else { CheckOutcome::Pass },
        message: error.map_or_else(|| "The check passed.".to_owned(), |error| error.message),
        remedy: None,
        elapsed_ms: 0,
    }
}

/// An event of the only partition, with JSON as data. Its position is a JSON text.
pub fn json_event(id: &str, source: &str, event_type: &str, data: &Value, position: &Value) -> Event {
    Event {
        id: id.to_owned(),
        source: source.to_owned(),
        event_type: event_type.to_owned(),
        subject: None,
        time: None,
        content_type: Some("application/json".to_owned()),
        data: Payload::Json(data.to_string()),
        attributes: Vec::new(),
        partition: PARTITION.to_owned(),
        order_key: id.to_owned(),
        summary: id.to_owned(),
        position: position.to_string().into_bytes(),
    }
}

/// The descriptor of an action.
pub fn action(operation: Operation, effect: Effect, idempotency: Idempotency) -> ActionDescriptor {
    ActionDescriptor { operation, effect, idempotency, paged: false }
}

/// The descriptor of a trigger. Polls more frequent than `min_interval_ms` find no more events.
pub fn trigger(
    operation: Operation,
    kind: TriggerKind,
    start_modes: &[StartMode],
    min_interval_ms: u64,
) -> TriggerDescriptor {
    TriggerDescriptor { operation, kind, start_modes: start_modes.to_vec(), min_interval_ms }
}

/// A rule that allows HTTPS connections to a host. A host outside of these suffixes needs the operator's permission by
/// name.
pub fn https(host: &str, suffixes: &[&str], purpose: &str) -> EgressRule {
    EgressRule {
        protocol: EgressProtocol::Https,
        host: host.to_owned(),
        default_port: 443,
        suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
        purpose: purpose.to_owned(),
    }
}
