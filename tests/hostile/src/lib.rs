//! A connector that misbehaves when a test asks for it. Otherwise it keeps all rules.
//!
//! A test has two ways to ask. The action `misbehave` does what its input says, see [`misbehave`]. Misbehaviour in
//! other functions (for example `describe`, which has no input) depends on [`flaw`]: a test writes names of flaws into
//! the data of the compiled component.
//!
//! The trigger `numbers` delivers the numbers from 0 to the configuration's `count`; a position is the next number. The
//! action `echo` returns its input.

mod bindings {
    //! Generated from `wit/`.

    #![allow(
        missing_docs,
        unsafe_code,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::unwrap_used,
        reason = "generated code; the documentation is in wit/"
    )]

    wit_bindgen::generate!({
        path: "../../wit",
        world: "workflow:connector/exports",
        default_bindings_module: "crate::bindings",
    });

    use crate::Guest;
    export!(Guest with_types_in crate::bindings);
}
mod misbehave;
mod network;

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};

use bindings::{exports, workflow};
use exports::workflow::connector::action::{Call, Outcome};
use exports::workflow::connector::connection::{Grant, PermissionFinding, Report, Validation};
use exports::workflow::connector::discovery::{Choices, ChoicesRequest, Direction};
use exports::workflow::connector::metadata::{
    ActionDescriptor, AuthProfile, Descriptor, Effect, EgressProtocol, EgressRule, Idempotency, Operation, Permission,
    StartMode, Stored, TriggerDescriptor, TriggerKind,
};
use exports::workflow::connector::trigger::{
    Event, Page, Partition, Payload, PollRequest, Received, ReceivedRequest, Start, Subscription,
};
use workflow::connector::types::{
    Connection, Cursor, EffectState, Error, ErrorCode, FieldProblem, MissingPermission, Retry, Severity,
};

struct Guest;

/// The members that the input of `misbehave` may have.
const MISBEHAVIOUR: &[&str] = &[
    "do",
    "bytes",
    "lines",
    "then",
    "ms",
    "count",
    "code",
    "text",
    "to",
    "how",
    "scheme",
    "authority",
    "method",
    "path",
    "headers",
    "follow",
];

/// The data that a test overwrites: a mark, then the names of flaws with a comma after each, then dots.
static FLAWS: [u8; 256] = {
    let mut bytes = [b'.'; 256];
    bytes.split_at_mut(14).0.copy_from_slice(b"HOSTILE-FLAWS:");
    bytes
};

/// Whether a test gave this flaw to the component.
fn flaw(name: &str) -> bool {
    // The compiler must not read the value when it builds: a test changes the data later.
    let bytes: &[u8] = std::hint::black_box(&FLAWS);
    bytes[14..].split(|byte| *byte == b',').any(|given| given == name.as_bytes())
}

thread_local! {
    /// Data that earlier calls left in memory, for later calls to find.
    static LEFT_BEHIND: RefCell<Vec<String>> = RefCell::default();
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error {
        code,
        message: message.into(),
        detail: None,
        fields: Vec::new(),
        item: None,
        retry: if code == ErrorCode::Unavailable { Retry::Backoff } else { Retry::Never },
        effect: EffectState::None,
        service: None,
        missing_permission: None,
    }
}

/// An error about one field.
fn field(code: ErrorCode, pointer: &str, message: &str) -> Error {
    let mut error = error(code, format!("{pointer}: {message}"));
    if flaw("errors-without-fields") {
        return error;
    }
    error.fields = vec![FieldProblem {
        pointer: pointer.to_owned(),
        code: "unusable".to_owned(),
        message: message.to_owned(),
        fix: None,
        severity: Severity::Error,
    }];
    error
}

fn unsupported<T>() -> Result<T, Error> {
    Err(error(
        if flaw("unsupported-is-internal") { ErrorCode::Internal } else { ErrorCode::Unsupported },
        "not in this connector",
    ))
}

fn no_such<T>(what: &str, id: &str) -> Result<T, Error> {
    if flaw("unknown-operation-traps") {
        std::process::abort();
    }
    Err(error(ErrorCode::NotFound, format!("there is no {what} {id:?}")))
}

/// The JSON object in a text. It must have no other members than these.
fn object(code: ErrorCode, text: &str, members: &[&str]) -> Result<Value, Error> {
    if flaw("malformed-input-traps") && serde_json::from_str::<Value>(text).is_err() {
        std::process::abort();
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(found)) => match found.keys().find(|name| !members.contains(&name.as_str())) {
            Some(name) => Err(field(code, &format!("/{name}"), "is not known")),
            None => Ok(Value::Object(found)),
        },
        _ => Err(field(code, "", "must be a JSON object")),
    }
}

fn operation(id: &str, input: Value, output: Value, input_sample: Value, output_sample: Value) -> Operation {
    Operation {
        id: id.to_owned(),
        revision: 1,
        deprecated_by: None,
        title: id.to_owned(),
        help: "For tests.".to_owned(),
        group: "Tests".to_owned(),
        input_schema: input.to_string(),
        output_schema: output.to_string(),
        input_sample: input_sample.to_string(),
        output_sample: output_sample.to_string(),
        dynamic_input: false,
        dynamic_output: false,
        permissions: vec!["read-numbers".to_owned()],
        limits: Vec::new(),
    }
}

fn action(operation: Operation, effect: Effect) -> ActionDescriptor {
    ActionDescriptor { operation, effect, idempotency: Idempotency::Natural, paged: false }
}

fn rule(protocol: EgressProtocol, host: &str, default_port: u16) -> EgressRule {
    EgressRule {
        protocol,
        host: host.to_owned(),
        default_port,
        suffixes: vec![".hostile.example.com".to_owned()],
        purpose: "For tests.".to_owned(),
    }
}

fn profile() -> Value {
    json!({
        "type": "object",
        "properties": {
            "web": { "type": "string", "title": "Web host", "x-group": "Hosts", "examples": ["api.hostile.example.com"] },
            "server": { "type": "string", "title": "Socket host", "x-group": "Hosts", "x-visibility": "advanced" },
            "apiKey": { "type": "string", "title": "Key", "writeOnly": true, "x-depends-on": "/web" },
        },
        "required": ["web", "apiKey"],
        "additionalProperties": false,
    })
}

fn numbers() -> TriggerDescriptor {
    let config = json!({
        "type": "object",
        "properties": { "count": { "type": "integer", "minimum": 0, "maximum": 10_000_000 } },
        "additionalProperties": false,
    });
    let data = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    TriggerDescriptor {
        operation: operation("numbers", config, data, json!({ "count": 3 }), json!({ "n": 1 })),
        kind: TriggerKind::Streaming,
        start_modes: vec![StartMode::Earliest, StartMode::Now],
        min_interval_ms: 0,
    }
}

/// Changes a descriptor as the component's flaws say.
fn spoil(mut descriptor: Descriptor) -> Descriptor {
    if flaw("describe-traps") {
        std::process::abort();
    }
    if flaw("slow-describe") {
        misbehave::spin();
    }
    if flaw("giant-descriptor") {
        descriptor.help = "x".repeat(24 << 20);
    }
    if flaw("bad-identity") {
        descriptor.interface_version = "0.9.0".to_owned();
    }
    if flaw("random-describe") {
        descriptor.title = format!("Hostile {}", wasip2::random::random::get_random_u64());
    }
    if flaw("bad-unsupported") {
        descriptor.unsupported = vec!["action.explode".to_owned()];
    }
    if flaw("bad-egress") {
        descriptor.egress[0].host = "{absent}".to_owned();
    }
    if flaw("many-rules") {
        descriptor.egress = (0..100).map(|_| rule(EgressProtocol::Https, "{web}", 443)).collect();
    }
    if flaw("public-suffix") {
        descriptor.egress[1].suffixes = vec![".hostile.example.com".to_owned(), ".github.io".to_owned()];
    }
    if flaw("open-secrets") {
        let schema = &mut descriptor.auth_profiles[0].schema;
        *schema = schema.replace(r#""writeOnly":true,"#, "").replace(r#","writeOnly":true"#, "");
    }
    let trigger = &mut descriptor.triggers[0];
    if flaw("bad-triggers") {
        trigger.start_modes = Vec::new();
    }
    if flaw("bad-permissions") {
        trigger.operation.permissions = vec!["never-declared".to_owned()];
    }
    if flaw("bad-samples") {
        trigger.operation.output_sample = json!({ "n": "one" }).to_string();
    }
    if flaw("bad-annotations") {
        trigger.operation.input_schema = trigger
            .operation
            .input_schema
            .replace(r#""type":"integer""#, r#""type":"integer","x-visibility":"sometimes""#);
    }
    let [echo, misbehaved] = &mut descriptor.actions[..] else { return descriptor };
    if flaw("bad-schemas") {
        misbehaved.operation.output_schema = json!({ "type": "objekt" }).to_string();
    }
    if flaw("bad-ids") {
        misbehaved.operation.id = echo.operation.id.clone();
    }
    descriptor
}

impl exports::workflow::connector::metadata::Guest for Guest {
    fn describe() -> Descriptor {
        let text = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"], "additionalProperties": false });
        let sample = json!({ "text": "hello" });
        let names: serde_json::Map<_, _> = MISBEHAVIOUR.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let any = json!({ "type": "object", "properties": names, "additionalProperties": false });
        spoil(Descriptor {
            id: "hostile-test".to_owned(),
            version: "1.0.0".to_owned(),
            interface_version: "0.2.0".to_owned(),
            title: "Hostile test".to_owned(),
            help: "For tests.".to_owned(),
            auth_profiles: vec![AuthProfile {
                id: "key".to_owned(),
                title: "Key".to_owned(),
                help: "For tests.".to_owned(),
                schema: profile().to_string(),
            }],
            permissions: vec![Permission {
                id: "read-numbers".to_owned(),
                title: "Read numbers".to_owned(),
                service: "Tests".to_owned(),
                help: "For tests.".to_owned(),
            }],
            triggers: vec![numbers()],
            actions: vec![
                action(operation("echo", text.clone(), text, sample.clone(), sample), Effect::Write),
                action(
                    operation("misbehave", any.clone(), json!({}), json!({ "do": "nothing" }), json!("done")),
                    Effect::Read,
                ),
            ],
            egress: vec![rule(EgressProtocol::Https, "{web}", 443), rule(EgressProtocol::Tls, "{server}", 5671)],
            unsupported: Vec::new(),
        })
    }

    fn migrate(from_version: String, item: Stored) -> Result<Stored, Error> {
        if flaw("migrate-traps") {
            std::process::abort();
        }
        let malformed = || field(ErrorCode::InvalidInput, "/from-version", "must be a version");
        let major = from_version.split_once('.').ok_or_else(malformed)?.0;
        match major.parse::<u32>().map_err(|_| malformed())? {
            ..=1 => Ok(item),
            _ => Err(error(ErrorCode::Unsupported, "stored by a newer version")),
        }
    }
}

/// The problems of a connection, and its values.
fn read(connection: &Connection) -> (Vec<FieldProblem>, Value) {
    let problem = |pointer: &str, code: &str, message: &str| FieldProblem {
        pointer: if flaw("bad-pointers") { format!("$.{pointer}") } else { pointer.to_owned() },
        code: code.to_owned(),
        message: message.to_owned(),
        fix: None,
        severity: Severity::Error,
    };
    let Ok(Value::Object(mut values)) = serde_json::from_str(&connection.values) else {
        if flaw("validate-traps") {
            std::process::abort();
        }
        return (vec![problem("", "malformed", "must be a JSON object")], json!({}));
    };
    let mut problems = Vec::new();
    if connection.auth_profile != "key" {
        problems.push(problem("", "unknown-profile", "there is no such profile"));
    }
    for name in ["web", "apiKey"] {
        if values.get(name).and_then(Value::as_str).unwrap_or_default().is_empty() {
            problems.push(problem(&format!("/{name}"), "missing", "must be a text"));
        }
    }
    for (name, value) in &values {
        if !["web", "server", "apiKey"].contains(&name.as_str()) {
            problems.push(problem(
                &format!("/{}", name.replace('~', "~0").replace('/', "~1")),
                "unknown",
                "is not known",
            ));
        } else if !value.is_string() {
            problems.push(problem(&format!("/{name}"), "not-a-text", "must be a text"));
        }
    }
    if flaw("validate-is-silent") {
        problems.clear();
    }
    if !flaw("echoes-secrets") {
        values.remove("apiKey");
    }
    // Only one account has this flaw, so that the others stay usable.
    if flaw("giant-normalized") && values.get("web") == Some(&json!("giant.hostile.example.com")) {
        values.insert("padding".to_owned(), json!("x".repeat(1 << 20)));
    }
    (problems, Value::Object(values))
}

fn check(connection: &Connection) -> Result<(), Error> {
    let (problems, _) = read(connection);
    if problems.is_empty() {
        return Ok(());
    }
    let mut error = error(ErrorCode::InvalidConfig, "the connection cannot be used");
    error.fields = problems;
    Err(error)
}

impl exports::workflow::connector::connection::Guest for Guest {
    fn validate(connection: Connection) -> Validation {
        let (problems, normalized) = read(&connection);
        Validation { problems, normalized: normalized.to_string() }
    }

    fn test(connection: Connection, _: u64) -> Result<Report, Error> {
        check(&connection)?;
        let permissions = vec![PermissionFinding {
            permission: "read-numbers".to_owned(),
            grant: Grant::Granted,
            evidence: "nothing is needed".to_owned(),
            unlocks: vec!["numbers".to_owned()],
            remedy: None,
        }];
        let permissions = if flaw("no-permission-rows") { Vec::new() } else { permissions };
        Ok(Report { checks: Vec::new(), permissions, usable: vec!["numbers".to_owned()] })
    }

    fn label(connection: Connection) -> Result<String, Error> {
        check(&connection)?;
        Ok("test".to_owned())
    }
}

impl exports::workflow::connector::discovery::Guest for Guest {
    fn options(_: Connection, request: ChoicesRequest, _: u64) -> Result<Choices, Error> {
        if flaw("unknown-source-traps") {
            std::process::abort();
        }
        Err(field(ErrorCode::InvalidInput, "/source", &format!("there is no source {:?}", request.source)))
    }

    fn resolve_schema(_: Connection, operation: String, _: Direction, _: String, _: u64) -> Result<String, Error> {
        if ["numbers", "echo", "misbehave"].contains(&operation.as_str()) {
            return unsupported();
        }
        no_such("operation", &operation)
    }
}

fn event(n: u64) -> Event {
    let id = if flaw("random-events") { wasip2::random::random::get_random_u64() } else { n };
    let n_text = if flaw("bad-events") { json!({ "n": "one" }) } else { json!({ "n": n }) };
    // With this flaw, the position is that of the event itself, so the event is delivered twice.
    let after = if flaw("bad-positions") { n } else { n + 1 };
    Event {
        id: id.to_string(),
        source: "urn:hostile".to_owned(),
        event_type: "hostile.number".to_owned(),
        subject: None,
        time: None,
        content_type: Some("application/json".to_owned()),
        data: Payload::Json(n_text.to_string()),
        attributes: Vec::new(),
        partition: "all".to_owned(),
        order_key: "all".to_owned(),
        summary: format!("The number {n}"),
        position: after.to_string().into_bytes(),
    }
}

impl exports::workflow::connector::trigger::Guest for Guest {
    fn partitions(connection: Connection, trigger: String, config: String, _: u64) -> Result<Vec<Partition>, Error> {
        if trigger != "numbers" {
            return no_such("trigger", &trigger);
        }
        check(&connection)?;
        object(ErrorCode::InvalidConfig, &config, &["count"])?;
        Ok(vec![Partition { id: "all".to_owned(), title: "All".to_owned() }])
    }

    fn poll(request: PollRequest) -> Result<Page, Error> {
        if request.trigger != "numbers" {
            return no_such("trigger", &request.trigger);
        }
        check(&request.connection)?;
        let config = object(ErrorCode::InvalidConfig, &request.config, &["count"])?;
        let count = match config.get("count") {
            None => 10,
            Some(count) => count
                .as_u64()
                .ok_or_else(|| field(ErrorCode::InvalidConfig, "/count", "must be a whole number of 0 or more"))?,
        };
        let calls = CALLS.replace(CALLS.get() + 1);
        let position = match &request.cursor {
            None if matches!(request.start, Start::Now) => count,
            None => 0,
            Some(cursor) => {
                let text = String::from_utf8_lossy(&cursor.position).into_owned();
                if flaw("cursor-traps") && text.parse::<u64>().is_err() {
                    std::process::abort();
                }
                let position = text.parse().ok();
                position.ok_or_else(|| field(ErrorCode::InvalidInput, "/cursor", "not a cursor of this trigger"))?
            }
        };
        if flaw("ignores-deadlines") {
            misbehave::sleep(request.budget.wait_ms * 1_000);
        } else if position >= count {
            misbehave::sleep(request.budget.wait_ms.min(request.budget.deadline_ms));
        }
        // With this flaw, an instance that was polled before skips events.
        let position = if flaw("keeps-positions") { position + calls } else { position };
        let most = if flaw("over-budget") { u64::MAX } else { u64::from(request.budget.events) };
        let until = count.min(position.saturating_add(most)).max(position);
        Ok(page((position..until).map(event).collect(), until, until < count))
    }

    fn sample(
        connection: Connection,
        trigger: String,
        config: String,
        limit: u32,
        _: u64,
    ) -> Result<Vec<Event>, Error> {
        if trigger != "numbers" {
            return no_such("trigger", &trigger);
        }
        check(&connection)?;
        object(ErrorCode::InvalidConfig, &config, &["count"])?;
        Ok((0..u64::from(limit.min(3))).map(event).collect())
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

fn page(events: Vec<Event>, next: u64, more: bool) -> Page {
    let snapshot = if flaw("giant-cursor") { vec![0; 4 << 20] } else { b"numbers".to_vec() };
    Page {
        events,
        next: Cursor { snapshot, position: next.to_string().into_bytes() },
        more,
        wait_hint_ms: 10,
        lag: None,
        notices: Vec::new(),
    }
}

impl exports::workflow::connector::action::Guest for Guest {
    fn invoke(connection: Connection, action: String, input: String, call: Call) -> Result<Outcome, Error> {
        match action.as_str() {
            "echo" => {
                let input = object(ErrorCode::InvalidInput, &input, &["text"])?;
                let Some(text) = input.get("text").and_then(Value::as_str) else {
                    return Err(field(ErrorCode::InvalidInput, "/text", "must be a text"));
                };
                check(&connection)?;
                if flaw("grants-nothing") {
                    let mut error = error(ErrorCode::Conflict, "you may not");
                    error.missing_permission =
                        Some(MissingPermission { permission: "never-declared".to_owned(), remedy: String::new() });
                    return Err(error);
                }
                if call.dry_run && !flaw("dry-run-acts") {
                    return Ok(Outcome::Planned(json!({ "method": "POST", "url": "/", "body": input }).to_string()));
                }
                Ok(Outcome::Done(json!({ "text": text }).to_string()))
            }
            "misbehave" => {
                let input = object(ErrorCode::InvalidInput, &input, MISBEHAVIOUR)?;
                match misbehave::misbehave(&connection, &input, call.deadline_ms)? {
                    _ if flaw("invalid-output") => Ok(Outcome::Done("{\"unfinished".to_owned())),
                    said => Ok(Outcome::Done(said)),
                }
            }
            _ => no_such("action", &action),
        }
    }

    fn resume(_: Connection, action: String, _: String, _: Call) -> Result<Outcome, Error> {
        if ["echo", "misbehave"].contains(&action.as_str()) { unsupported() } else { no_such("action", &action) }
    }

    fn invoke_batch(
        connection: Connection,
        action: String,
        inputs: Vec<String>,
        call: Call,
    ) -> Result<Vec<Result<Outcome, Error>>, Error> {
        if !["echo", "misbehave"].contains(&action.as_str()) {
            return no_such("action", &action);
        }
        let mut results: Vec<_> = inputs
            .into_iter()
            .map(|input| Self::invoke(connection.clone(), action.clone(), input, call.clone()))
            .collect();
        if flaw("loses-items") {
            results.pop();
        }
        Ok(results)
    }
}

impl exports::workflow::connector::lifecycle::Guest for Guest {
    fn release() {
        if flaw("release-hangs") {
            misbehave::spin();
        }
    }
}
