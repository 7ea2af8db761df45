//! How a connector handles malformed and unknown values. These checks send nothing to the network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::descriptor::{fields, operations, sounds_secret, validator};
use super::rules::Rule;
use super::trial::Trial;
use crate::call::Connector;
use crate::connection::Connection;
use crate::egress::Nowhere;
use crate::error::CallError;
use crate::interface::action::{Call, Outcome};
use crate::interface::connection::Validation;
use crate::interface::discovery::{ChoicesRequest, Direction};
use crate::interface::metadata::{AuthProfile, Effect, Operation, Stored, StoredCursor, StoredInput, TriggerKind};
use crate::interface::trigger::{Budget, LostPolicy, PollRequest, ReceivedRequest, Start};
use crate::interface::types::{Cursor, ErrorCode, Severity};
use crate::limits::Limits;
use crate::options::Resolve;
use crate::options::TenantOptions;
use crate::tenant::Tenant;

/// An id that no connector declares.
const UNKNOWN: &str = "conformance-no-such-thing";
/// A secret that must not appear in an answer. It is valid base64, because many keys are base64.
const CANARY: &str = "Q29uZm9ybWFuY2VDYW5hcnlTZWNyZXREb05vdEVjaG8=";

/// A connector, and a plausible account for it whose hosts cannot be reached.
struct Subject<'a> {
    connector: &'a Connector,
    tenant: Tenant,
    connection: Connection,
    /// Whether the connector accepts the account as usable.
    usable: bool,
}

pub(super) async fn judge(connector: &Connector, trial: &mut Trial) {
    let limits = Limits { cpu: Duration::from_secs(5), deadline: Duration::from_secs(30), ..Limits::default() };
    let resolver: Option<Arc<dyn Resolve>> = Some(Arc::new(Nowhere));
    let options = TenantOptions { name: "(conformance)".to_owned(), limits, resolver, ..TenantOptions::default() };
    let Ok(tenant) = Tenant::new(options.clone()) else { return };
    trial.secrets = vec![CANARY.to_owned()];
    let mut subjects = Vec::new();
    for profile in &connector.descriptor().auth_profiles {
        let Ok(schema) = serde_json::from_str::<Value>(&profile.schema) else { continue };
        let values = likely(&schema);
        let connection = Connection::new(profile.id.as_str(), Value::Object(values.clone()).to_string());
        let what = format!("validate of a likely connection of the profile {}", profile.id);
        let validation = validate(connector, &tenant, &connection, &what, trial).await;
        trial.derived(validation.as_ref());
        // The derived fields may depend on the choices in the form.
        for (name, choice) in choices(&schema) {
            let mut values = values.clone();
            values.insert(name.clone(), choice.clone());
            let connection = Connection::new(profile.id.as_str(), Value::Object(values).to_string());
            let what = format!("validate, profile {}, {name} = {choice}", profile.id);
            let validation = validate(connector, &tenant, &connection, &what, trial).await;
            trial.derived(validation.as_ref());
        }
        // An operator may permit any host, so every derived host is permitted here. None of the names can be resolved.
        let mut options = options.clone();
        let normalized =
            validation.as_ref().and_then(|it| serde_json::from_str::<Map<String, Value>>(&it.normalized).ok());
        let hosts = normalized.iter().flat_map(Map::values).filter_map(Value::as_str);
        options.allow_hosts =
            hosts.filter(|host| host.parse::<IpAddr>().is_err()).filter_map(|host| host.parse().ok()).collect();
        let Ok(tenant) = Tenant::new(options) else { continue };
        let usable = validation.is_some_and(|validation| validation.is_usable());
        connections(connector, &tenant, profile, &schema, &values, trial).await;
        subjects.push(Subject { connector, tenant: tenant.clone(), connection, usable });
    }
    // A usable account lets more checks run, so it comes first.
    subjects.sort_by_key(|subject| !subject.usable);
    if let Some(subject) = subjects.first() {
        label_and_test(subject, trial).await;
        unknown(subject, trial).await;
        inputs(subject, trial).await;
        cursors(subject, trial).await;
        webhooks(subject, trial).await;
        dry_runs(subject, trial).await;
    }
    migrations(connector, &tenant, trial).await;
    trial.secrets.clear();
}

/// Values that a person might enter, with a secret that can be recognized in answers.
fn likely(schema: &Value) -> Map<String, Value> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|it| it == name));
    let mut values = Map::new();
    for (name, field) in fields(schema) {
        let example = field["examples"].get(0).or_else(|| field.get("default"));
        let value = if field["writeOnly"] == true || sounds_secret(name) {
            Some(json!(planted(example.and_then(Value::as_str).unwrap_or_default())))
        } else {
            example.cloned().or_else(|| required(name).then(|| json!("conformance")))
        };
        values.extend(value.map(|value| (name.clone(), value)));
    }
    values
}

/// Each choice that a field of a form offers, with the field's name.
fn choices(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    fields(schema).flat_map(|(name, field)| field["enum"].as_array().into_iter().flatten().map(move |it| (name, it)))
}

/// A secret in the format of an example. In an example such as `name=value;…`, only the value of the key is replaced.
fn planted(example: &str) -> String {
    let mut planted = false;
    let parts = example.split(';').map(|part| match part.split_once('=') {
        Some((name, _)) if sounds_secret(name) => {
            planted = true;
            format!("{name}={CANARY}")
        }
        _ => part.to_owned(),
    });
    let text = parts.collect::<Vec<_>>().join(";");
    if planted { text } else { CANARY.to_owned() }
}

async fn validate(
    connector: &Connector,
    tenant: &Tenant,
    connection: &Connection,
    what: &str,
    trial: &mut Trial,
) -> Option<Validation> {
    let validation = match connector.account(tenant, connection).validate().await {
        // Values that cannot be read must be reported as a problem, never as an error.
        Err(error @ (CallError::Connector(_) | CallError::Trap { .. })) => {
            trial.breach(Rule::ValidateAnswers, format!("{what}: {error}"));
            return None;
        }
        validated => trial.settle(Rule::ValidateAnswers, what, validated)?.ok()?,
    };
    trial.kept(Rule::ValidateAnswers);
    for problem in &validation.problems {
        trial.field(Rule::ValidateReports, what, problem);
    }
    Some(validation)
}

/// Checks `validate` with many wrong values, derived from the profile's schema.
async fn connections(
    connector: &Connector,
    tenant: &Tenant,
    profile: &AuthProfile,
    schema: &Value,
    values: &Map<String, Value>,
    trial: &mut Trial,
) {
    let mut corpus: Vec<(String, String)> =
        ["", "{", "null", "[]", "1", "\"text\"", "{}", "{\"a\":1}}", "\u{feff}{}", "nul"]
            .iter()
            .map(|text| (format!("the text {text:?}"), (*text).to_owned()))
            .collect();
    corpus.push(("a very deep text".to_owned(), "[".repeat(20_000)));
    corpus.push(("a deep object".to_owned(), "{\"a\":".repeat(500) + "1" + &"}".repeat(500)));
    for (name, _) in fields(schema) {
        for (what, wrong) in [
            ("a number", json!(-1.5e300)),
            ("a list", json!([1])),
            ("an object", json!({ "a": {} })),
            ("true", json!(true)),
            ("an empty text", json!("")),
            ("control characters", json!("a\u{0}\r\nb\u{7f}\u{202e}")),
            ("a long text", json!("x".repeat(50_000))),
            ("other alphabets", json!("ﬀ🦀\u{e000}é")),
            ("a pattern", json!("{web}../?#@:%00")),
        ] {
            let mut values = values.clone();
            values.insert(name.clone(), wrong);
            corpus.push((format!("{name} = {what}"), Value::Object(values).to_string()));
        }
        let mut values = values.clone();
        values.remove(name);
        corpus.push((format!("no {name}"), Value::Object(values).to_string()));
    }
    let validator = validator(schema).ok();
    let judged = |text: &str| {
        let values: Value = serde_json::from_str(text).ok()?;
        validator.as_ref().map(|validator| validator.is_valid(&values))
    };
    for (what, text) in corpus {
        // `fits` is false for a text that is not JSON, and for JSON that the schema does not allow.
        let fits = judged(&text).unwrap_or(false);
        let what = format!("validate, profile {}, {what}", profile.id);
        let connection = Connection::new(profile.id.as_str(), text);
        if let Some(validation) = validate(connector, tenant, &connection, &what, trial).await {
            let reported = validation.problems.iter().any(|problem| problem.severity == Severity::Error);
            trial.check(Rule::ValidateReports, fits || reported, || {
                format!("{what}: no problem with the severity `error` is reported")
            });
        }
    }
    let connection = Connection::new(UNKNOWN, Value::Object(values.clone()).to_string());
    if let Some(validation) = validate(connector, tenant, &connection, "validate of an unknown profile", trial).await {
        let reported = !validation.is_usable();
        trial.check(Rule::ValidateReports, reported, || "an unknown profile is not reported as a problem".to_owned());
    }
}

async fn label_and_test(subject: &Subject<'_>, trial: &mut Trial) {
    let Subject { connector, tenant, connection, .. } = subject;
    let label = connector.account(tenant, connection).label().await;
    trial.settle(Rule::ErrorsConsistent, "label", label);
    let tested = connector.account(tenant, connection).test().await;
    trial.settle(Rule::ErrorsConsistent, "test without a network", tested);
}

impl Subject<'_> {
    /// Expects an error with one of `codes`. Two other errors are accepted as well: `invalid-config` if the account is
    /// not usable, and `unsupported` if the descriptor declares the function as unsupported.
    fn expect<T: serde::Serialize>(
        &self,
        rule: Rule,
        what: &str,
        called: Result<T, CallError>,
        codes: &[ErrorCode],
        trial: &mut Trial,
    ) {
        let Some(answered) = trial.settle(rule, what, called) else { return };
        match answered {
            Ok(_) => trial.breach(rule, format!("{what} is accepted without an error")),
            Err(error) => {
                let function = what.split(' ').next().unwrap_or_default();
                let declared = |name: &String| name.rsplit('.').next() == Some(function);
                let fits = codes.contains(&error.code)
                    || !self.usable && error.code == ErrorCode::InvalidConfig
                    || error.code == ErrorCode::Unsupported
                        && self.connector.descriptor().unsupported.iter().any(declared);
                trial.check(rule, fits, || format!("{what} returns the error {:?}, not one of {codes:?}", error.code));
            }
        }
    }

    fn poll(&self, trigger: &str, config: &str, cursor: Option<Cursor>) -> PollRequest {
        PollRequest {
            trigger: trigger.to_owned(),
            partition: UNKNOWN.to_owned(),
            config: config.to_owned(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events: 1, bytes: 1 << 16, wait_ms: 0 },
        }
    }
}

async fn unknown(subject: &Subject<'_>, trial: &mut Trial) {
    let Subject { connector, tenant, connection, .. } = subject;
    let rule = Rule::UnknownOperation;
    let codes = [ErrorCode::NotFound];
    let call = Call::default();
    let called = connector.account(tenant, connection).partitions(UNKNOWN, "{}").await;
    subject.expect(rule, "partitions of an unknown trigger", called, &codes, trial);
    let called = connector.account(tenant, connection).poll(&subject.poll(UNKNOWN, "{}", None)).await;
    subject.expect(rule, "poll of an unknown trigger", called, &codes, trial);
    let called = connector.account(tenant, connection).sample(UNKNOWN, "{}", 1).await;
    subject.expect(rule, "sample of an unknown trigger", called, &codes, trial);
    let called = connector.account(tenant, connection).invoke(UNKNOWN, "{}", &call).await;
    subject.expect(rule, "invoke of an unknown action", called, &codes, trial);
    let called = connector.account(tenant, connection).resume(UNKNOWN, "token", &call).await;
    subject.expect(rule, "resume of an unknown action", called, &[ErrorCode::NotFound, ErrorCode::InvalidInput], trial);
    let called = connector.account(tenant, connection).invoke_batch(UNKNOWN, &["{}".to_owned()], &call).await;
    subject.expect(rule, "invoke-batch of an unknown action", called, &codes, trial);
    let called = connector.account(tenant, connection).resolve_schema(UNKNOWN, Direction::Input, "{}").await;
    subject.expect(rule, "resolve-schema of an unknown operation", called, &codes, trial);

    let request =
        ChoicesRequest { source: UNKNOWN.to_owned(), context: "{}".to_owned(), search: None, page: None, limit: 5 };
    let called = connector.account(tenant, connection).options(&request).await;
    let codes = [ErrorCode::InvalidInput, ErrorCode::NotFound, ErrorCode::Unsupported];
    subject.expect(Rule::UnknownSource, "options of an unknown source", called, &codes, trial);
}

/// Inputs that the operation's own schema does not allow.
fn forbidden(operation: &Operation) -> Vec<(String, String)> {
    let mut wrong: Vec<(String, String)> = ["", "{", "[]", "\"text\"", "7"]
        .iter()
        .map(|text| (format!("the text {text:?}"), (*text).to_owned()))
        .collect();
    let (Ok(schema), Ok(sample)) = (
        serde_json::from_str::<Value>(&operation.input_schema),
        serde_json::from_str::<Map<String, Value>>(&operation.input_sample),
    ) else {
        return wrong;
    };
    let Ok(validator) = validator(&schema) else { return wrong };
    for (name, _) in fields(&schema) {
        for value in [json!({ "a": [1] }), json!([[1]]), json!(-1), json!("\u{0}")] {
            let mut input = sample.clone();
            input.insert(name.clone(), value.clone());
            let input = Value::Object(input);
            if !validator.is_valid(&input) {
                wrong.push((format!("{name} = {value}"), input.to_string()));
            }
        }
    }
    let mut input = sample;
    input.insert(UNKNOWN.to_owned(), json!(true));
    let input = Value::Object(input);
    if !validator.is_valid(&input) {
        wrong.push(("a member that no schema has".to_owned(), input.to_string()));
    }
    wrong
}

async fn inputs(subject: &Subject<'_>, trial: &mut Trial) {
    let Subject { connector, tenant, connection, .. } = subject;
    let codes = [ErrorCode::InvalidInput, ErrorCode::PayloadTooLarge];
    for action in &connector.descriptor().actions {
        let id = &action.operation.id;
        let wrong = forbidden(&action.operation);
        for (what, input) in &wrong {
            let called = connector.account(tenant, connection).invoke(id, input, &Call::default()).await;
            subject.expect(Rule::MalformedInput, &format!("invoke of {id} with {what}"), called, &codes, trial);
        }
        let inputs: Vec<String> = wrong.into_iter().take(3).map(|(_, input)| input).collect();
        let called = connector.account(tenant, connection).invoke_batch(id, &inputs, &Call::default()).await;
        let what = format!("invoke-batch of {id} with {} malformed inputs", inputs.len());
        if matches!(called, Err(CallError::Protocol { .. })) {
            trial.breach(Rule::Batch, format!("{what}: the answer breaks the interface"));
        }
        if let Some(Ok(results)) = trial.settle(Rule::Batch, &what, called) {
            let refused = results.iter().all(Result::is_err);
            trial.check(Rule::Batch, refused, || format!("{what}: not all of the inputs are refused"));
            for error in results.iter().filter_map(|result| result.as_ref().err()) {
                trial.error(&what, error);
            }
        }
    }
    for trigger in &connector.descriptor().triggers {
        let id = &trigger.operation.id;
        let codes = [ErrorCode::InvalidConfig, ErrorCode::InvalidInput];
        for (what, config) in forbidden(&trigger.operation) {
            let what = format!("poll of {id} with {what}");
            let called = connector.account(tenant, connection).poll(&subject.poll(id, &config, None)).await;
            subject.expect(Rule::MalformedConfig, &what, called, &codes, trial);
        }
    }
}

async fn cursors(subject: &Subject<'_>, trial: &mut Trial) {
    let Subject { connector, tenant, connection, .. } = subject;
    for trigger in &connector.descriptor().triggers {
        let id = &trigger.operation.id;
        for (what, snapshot, position) in damaged() {
            let what = format!("poll of {id} with a cursor of {what}");
            let request = subject.poll(id, &trigger.operation.input_sample, Some(Cursor { snapshot, position }));
            let answered =
                trial.settle(Rule::MalformedCursor, &what, connector.account(tenant, connection).poll(&request).await);
            // Without a network, the connector may report the network error first.
            if let Some(answered) = answered {
                trial.check(Rule::MalformedCursor, answered.is_err(), || format!("{what} is accepted"));
            }
        }
    }
}

/// Cursors that no trigger has made.
pub(super) fn damaged() -> [(&'static str, Vec<u8>, Vec<u8>); 5] {
    [
        ("text", b"conformance".to_vec(), b"no cursor".to_vec()),
        ("zeros", vec![0; 64], vec![0; 64]),
        ("ones", vec![0xff; 1000], vec![0xff; 1000]),
        ("one byte", Vec::new(), vec![0x80]),
        ("JSON", Vec::new(), br#"{"position":{"a":[]},"version":99}"#.to_vec()),
    ]
}

async fn webhooks(subject: &Subject<'_>, trial: &mut Trial) {
    let Subject { connector, tenant, connection, .. } = subject;
    let (rule, codes) = (Rule::Webhooks, [ErrorCode::Unsupported]);
    let without = |kind| matches!(kind, TriggerKind::Polling | TriggerKind::Streaming);
    for trigger in connector.descriptor().triggers.iter().filter(|trigger| without(trigger.kind)) {
        let (id, config) = (&trigger.operation.id, &trigger.operation.input_sample);
        let called =
            connector.account(tenant, connection).subscribe(id, config, "https://engine.example.com/hook").await;
        subject.expect(rule, &format!("subscribe of {id}"), called, &codes, trial);
        let called = connector.account(tenant, connection).renew(id, config, b"state").await;
        subject.expect(rule, &format!("renew of {id}"), called, &codes, trial);
        let called = connector.account(tenant, connection).unsubscribe(id, config, b"state").await;
        subject.expect(rule, &format!("unsubscribe of {id}"), called, &codes, trial);
        let request = ReceivedRequest {
            method: "POST".to_owned(),
            path_with_query: "/hook".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let called = connector.account(tenant, connection).receive(id, config, b"state", &request).await;
        subject.expect(rule, &format!("receive of {id}"), called, &codes, trial);
    }
}

async fn dry_runs(subject: &Subject<'_>, trial: &mut Trial) {
    let Subject { connector, tenant, connection, .. } = subject;
    let call = Call { dry_run: true, ..Call::default() };
    for action in connector.descriptor().actions.iter().filter(|action| action.effect != Effect::Read) {
        let operation = &action.operation;
        let what = format!("a dry run of {}", operation.id);
        let called = connector.account(tenant, connection).invoke(&operation.id, &operation.input_sample, &call).await;
        if let Some(answered) = trial.settle(Rule::DryRun, &what, called) {
            let idle = matches!(&answered, Err(_) | Ok(Outcome::Planned(_)));
            trial.check(Rule::DryRun, idle, || format!("{what}: answers as if the action had been done"));
        }
    }
}

async fn migrations(connector: &Connector, tenant: &Tenant, trial: &mut Trial) {
    let rule = Rule::Migrate;
    let descriptor = connector.descriptor();
    for operation in operations(descriptor) {
        let stored = || {
            Stored::Input(StoredInput {
                operation: operation.id.clone(),
                revision: operation.revision,
                value: operation.input_sample.clone(),
            })
        };
        let what = format!("migrate of an input of {} from its own version", operation.id);
        let migrated = connector.migrate(tenant, &descriptor.version, stored()).await.map(|stored| match stored {
            Stored::Input(input) => serde_json::from_str(&input.value).unwrap_or(Value::Null),
            _ => Value::Null,
        });
        let sample: Value = serde_json::from_str(&operation.input_sample).unwrap_or_default();
        match trial.settle(rule, &what, migrated) {
            Some(Ok(migrated)) => {
                trial.check(rule, migrated == sample, || format!("{what}: the input comes back changed"))
            }
            Some(Err(error)) => trial.breach(rule, format!("{what}: {}", error.message)),
            None => {}
        }
        for version in ["", "no version", "9999.0.0"] {
            let what = format!("migrate of an input of {} from the version {version:?}", operation.id);
            let migrated = connector.migrate(tenant, version, stored()).await.map(|_| ());
            if let Some(answered) = trial.settle(rule, &what, migrated) {
                trial.check(rule, answered.is_err(), || format!("{what} is accepted although the version is unknown"));
            }
        }
    }
    for trigger in &descriptor.triggers {
        let (id, revision) = (&trigger.operation.id, trigger.operation.revision);
        for (bytes, snapshot, position) in damaged() {
            let value = Cursor { snapshot, position };
            let stored = Stored::Cursor(StoredCursor { trigger: id.clone(), revision, value });
            let what = format!("migrate of a cursor of {id} with {bytes} in it");
            // The connector may leave it to the next poll to refuse the cursor, but it must not crash.
            let migrated = connector.migrate(tenant, &descriptor.version, stored).await.map(|_| ());
            if trial.settle(rule, &what, migrated).is_some() {
                trial.kept(rule);
            }
        }
    }
}
