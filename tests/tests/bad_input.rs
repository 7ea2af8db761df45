//! Malformed connections and inputs, through the built component. Each is answered with the right kind of error and a
//! pointer to the field, without a crash. No message or log line holds the key.

use std::io;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use connector_host::interface::action::Call;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::interface::types::{Cursor, Error, ErrorCode, Severity};
use connector_host::{CallError, Connection, Secret, Tenant, TenantOptions};
use connector_tests::connector;
use serde_json::{Value, json};

/// The key that must never be shown. It is valid base64 of 36 bytes, so only its place in the connection is wrong.
const KEY: &str = "dGhlIGtleSB0aGF0IG11c3Qgbm90IGJlIHNlZW4h";
/// A part of the key, for messages that quote only a part.
const PIECE: &str = "dGhlIGtleSB0";

struct Case {
    name: &'static str,
    profile: &'static str,
    values: String,
    pointer: &'static str,
    code: &'static str,
}

fn account(change: impl FnOnce(&mut Value)) -> String {
    let mut values =
        json!({ "iotHubName": "plant.azure-devices.net", "sharedAccessKeyName": "service", "sharedAccessKey": KEY });
    change(&mut values);
    values.to_string()
}

fn set(name: &'static str, field: &str, value: impl Into<Value>, pointer: &'static str, code: &'static str) -> Case {
    let value = value.into();
    Case { name, profile: "shared-access-key", values: account(|values| values[field] = value), pointer, code }
}

fn string_profile(name: &'static str, text: &str, code: &'static str) -> Case {
    let values = json!({ "iotHubConnectionString": text }).to_string();
    Case { name, profile: "connection-string", values, pointer: "/iotHubConnectionString", code }
}

fn connections() -> Vec<Case> {
    let raw =
        |name, profile, values: &str, pointer, code| Case { name, profile, values: values.to_owned(), pointer, code };
    let dps = |name, host: Value, pointer, code| Case {
        name,
        profile: "shared-access-key",
        values: account(|values| {
            values["dpsHostName"] = host;
            values["dpsSharedAccessKeyName"] = "owner".into();
            values["dpsSharedAccessKey"] = KEY.into();
        }),
        pointer,
        code,
    };
    let events = |name, endpoint: &str, path: Option<&str>, pointer, code| Case {
        name,
        profile: "shared-access-key",
        values: account(|values| {
            values["eventHubEndpoint"] = endpoint.into();
            if let Some(path) = path {
                values["eventHubPath"] = path.into();
            }
        }),
        pointer,
        code,
    };
    let shared = "shared-access-key";
    let hub_string = format!("HostName=plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    vec![
        // The connection as a whole.
        raw("unknown profile", "password", "{}", "", "unknown-auth-profile"),
        raw("no JSON", shared, &format!("{{\"sharedAccessKey\": \"{KEY}\""), "", "not-json"),
        raw("no JSON at all", shared, KEY, "", "not-json"),
        raw("a list", shared, &format!("[\"{KEY}\"]"), "", "wrong-type"),
        raw("a text", shared, &format!("\"{KEY}\""), "", "wrong-type"),
        raw("null", shared, "null", "", "wrong-type"),
        raw("nothing filled in", shared, "{}", "/iotHubName", "missing"),
        raw("nothing filled in: key", shared, "{}", "/sharedAccessKey", "missing"),
        raw("nothing filled in: name", shared, "{}", "/sharedAccessKeyName", "missing"),
        set("unknown field", "iothubname", "plant", "/iothubname", "unknown-field"),
        set("a key as a field's name", KEY, "x", "", "unknown-field"),
        // The name of the hub.
        set("empty hub", "iotHubName", "", "/iotHubName", "missing"),
        set("blank hub", "iotHubName", "  \t", "/iotHubName", "missing"),
        set("hub is a number", "iotHubName", 7, "/iotHubName", "wrong-type"),
        set("hub is a list", "iotHubName", json!(["plant"]), "/iotHubName", "wrong-type"),
        set("white space in the hub", "iotHubName", "pla nt.azure-devices.net", "/iotHubName", "whitespace"),
        set("line break in the hub", "iotHubName", "plant\r\nHost: evil", "/iotHubName", "whitespace"),
        set("another domain", "iotHubName", "plant.example.com", "/iotHubName", "unknown-suffix"),
        set(
            "a domain that looks alike",
            "iotHubName",
            "plant.azure-devices.net.example.com",
            "/iotHubName",
            "unknown-suffix",
        ),
        set("a suffix without its dot", "iotHubName", "evilazure-devices.net", "/iotHubName", "unknown-suffix"),
        set("only the suffix", "iotHubName", "azure-devices.net", "/iotHubName", "unknown-suffix"),
        set("a user name", "iotHubName", "https://evil@plant.azure-devices.net", "/iotHubName", "user-info"),
        set("a path", "iotHubName", "https://plant.azure-devices.net/devices", "/iotHubName", "path"),
        set("a query", "iotHubName", "plant.azure-devices.net?x=1", "/iotHubName", "path"),
        set("a fragment", "iotHubName", "evil.example#.azure-devices.net", "/iotHubName", "path"),
        set("another scheme", "iotHubName", "file://plant.azure-devices.net", "/iotHubName", "scheme"),
        set("a port", "iotHubName", "plant.azure-devices.net:8443", "/iotHubName", "port"),
        set("port 0", "iotHubName", "plant.azure-devices.net:0", "/iotHubName", "port"),
        set("an address", "iotHubName", "169.254.169.254", "/iotHubName", "address"),
        set("an IPv6 address", "iotHubName", "[::1]", "/iotHubName", "address"),
        set("letters beyond ASCII", "iotHubName", "plänt.azure-devices.net", "/iotHubName", "characters"),
        set("an underscore", "iotHubName", "pla_nt.azure-devices.net", "/iotHubName", "characters"),
        set(
            "a label that is too long",
            "iotHubName",
            format!("{}.azure-devices.net", "a".repeat(64)),
            "/iotHubName",
            "too-long",
        ),
        set("far too long", "iotHubName", "a".repeat(5_000), "/iotHubName", "too-long"),
        set(
            "a provisioning service as hub",
            "iotHubName",
            "p.azure-devices-provisioning.net",
            "/iotHubName",
            "wrong-service",
        ),
        set("an Event Hub as hub", "iotHubName", "ns.servicebus.windows.net", "/iotHubName", "wrong-service"),
        set(
            "a device's connection string as hub",
            "iotHubName",
            format!("HostName=plant.azure-devices.net;DeviceId=d1;SharedAccessKey={KEY}"),
            "/iotHubName",
            "device-connection-string",
        ),
        set(
            "an Event Hub's connection string as hub",
            "iotHubName",
            format!("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey={KEY}"),
            "/iotHubName",
            "event-hub-connection-string",
        ),
        // The policy and its key.
        set("policy is a flag", "sharedAccessKeyName", true, "/sharedAccessKeyName", "wrong-type"),
        set("a policy with a colon", "sharedAccessKeyName", "service:1", "/sharedAccessKeyName", "characters"),
        set("a policy with a line break", "sharedAccessKeyName", "service\nx", "/sharedAccessKeyName", "characters"),
        set("a policy that is too long", "sharedAccessKeyName", "s".repeat(65), "/sharedAccessKeyName", "too-long"),
        set("key is null", "sharedAccessKey", Value::Null, "/sharedAccessKey", "missing"),
        set("key is an object", "sharedAccessKey", json!({ "key": KEY }), "/sharedAccessKey", "wrong-type"),
        set("key is not base64", "sharedAccessKey", format!("{KEY}!"), "/sharedAccessKey", "not-base64"),
        set("key is URL-safe base64", "sharedAccessKey", format!("{KEY}-_=="), "/sharedAccessKey", "not-base64"),
        set("key was cut", "sharedAccessKey", &KEY[..17], "/sharedAccessKey", "not-base64"),
        set("key is too short", "sharedAccessKey", "c2hvcnQ=", "/sharedAccessKey", "too-short"),
        set("white space in the key", "sharedAccessKey", format!("{KEY} {KEY}"), "/sharedAccessKey", "whitespace"),
        set(
            "a signature as key",
            "sharedAccessKey",
            format!("SharedAccessSignature sr=x&sig={KEY}&se=1&skn=y"),
            "/sharedAccessKey",
            "sas-token",
        ),
        // A connection string.
        string_profile("an empty connection string", "", "missing"),
        string_profile("a name as connection string", "plant", "not-a-connection-string"),
        string_profile("only a key", KEY, "not-a-connection-string"),
        string_profile("no host", &format!("SharedAccessKeyName=service;SharedAccessKey={KEY}"), "missing-host"),
        string_profile(
            "no policy",
            &format!("HostName=plant.azure-devices.net;SharedAccessKey={KEY}"),
            "missing-key-name",
        ),
        string_profile("no key", "HostName=plant.azure-devices.net;SharedAccessKeyName=service", "missing-key"),
        string_profile(
            "a device's",
            &format!("HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey={KEY}"),
            "device-connection-string",
        ),
        string_profile(
            "another domain in it",
            &hub_string.replace("azure-devices.net", "example.com"),
            "unknown-suffix",
        ),
        string_profile("a broken key in it", &format!("{hub_string}*"), "not-base64"),
        // The provisioning service.
        dps("a hub as provisioning service", "plant.azure-devices.net".into(), "/dpsHostName", "wrong-service"),
        dps("provisioning service is a number", 1.into(), "/dpsHostName", "wrong-type"),
        dps("provisioning service elsewhere", "dps.example.com".into(), "/dpsHostName", "unknown-suffix"),
        set("provisioning host alone", "dpsHostName", "plant-dps", "/dpsSharedAccessKey", "missing"),
        set("provisioning key alone", "dpsSharedAccessKey", KEY, "/dpsHostName", "missing"),
        // The Event Hub-compatible endpoint.
        events("endpoint without a path", "sb://ns.servicebus.windows.net/", None, "/eventHubPath", "missing"),
        events(
            "a hub as endpoint",
            "sb://plant.azure-devices.net/",
            Some("plant"),
            "/eventHubEndpoint",
            "wrong-service",
        ),
        events("endpoint elsewhere", "sb://ns.example.com/", Some("plant"), "/eventHubEndpoint", "unknown-suffix"),
        events(
            "a hub's connection string as endpoint",
            &hub_string,
            Some("plant"),
            "/eventHubEndpoint",
            "wrong-service",
        ),
        events("a path with a space", "sb://ns.servicebus.windows.net/", Some("a b"), "/eventHubPath", "characters"),
        events(
            "paths that differ",
            &format!(
                "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey={KEY};EntityPath=one"
            ),
            Some("two"),
            "/eventHubPath",
            "mismatched-path",
        ),
        set("path without an endpoint", "eventHubPath", "plant", "/eventHubEndpoint", "missing"),
        // The trusted domains.
        set("domains are a text", "trustedHostSuffixes", "localhost", "/trustedHostSuffixes", "wrong-type"),
        set(
            "a domain is a number",
            "trustedHostSuffixes",
            json!(["localhost", 1]),
            "/trustedHostSuffixes/1",
            "wrong-type",
        ),
        set("a domain is a URL", "trustedHostSuffixes", json!(["https://x"]), "/trustedHostSuffixes/0", "not-a-domain"),
        set(
            "too many domains",
            "trustedHostSuffixes",
            json!(["a", "b", "c", "d", "e", "f", "g", "h", "i"]),
            "/trustedHostSuffixes",
            "too-many",
        ),
    ]
}

/// Each case: action, input, error code and pointer.
fn inputs() -> Vec<(&'static str, String, ErrorCode, &'static str)> {
    let long = "d".repeat(129);
    let of = |action, input: Value, pointer| (action, input.to_string(), ErrorCode::InvalidInput, pointer);
    vec![
        ("no-such-action", "{}".to_owned(), ErrorCode::NotFound, ""),
        ("get-device", "{".to_owned(), ErrorCode::InvalidInput, ""),
        ("get-device", String::new(), ErrorCode::InvalidInput, ""),
        ("get-device", "\u{0}".to_owned(), ErrorCode::InvalidInput, ""),
        ("get-device", "[".repeat(100_000), ErrorCode::InvalidInput, ""),
        of("get-device", json!([]), ""),
        of("get-device", json!(null), ""),
        of("get-device", json!({}), "/deviceId"),
        of("get-device", json!({ "deviceId": null }), "/deviceId"),
        of("get-device", json!({ "deviceId": 17 }), "/deviceId"),
        of("get-device", json!({ "deviceId": "" }), "/deviceId"),
        of("get-device", json!({ "deviceId": long }), "/deviceId"),
        of("get-device", json!({ "deviceId": "a/b" }), "/deviceId"),
        of("get-device", json!({ "deviceId": "../configurations/x" }), "/deviceId"),
        of("get-device", json!({ "deviceId": ".." }), "/deviceId"),
        of("get-device", json!({ "deviceId": "a b" }), "/deviceId"),
        of("get-device", json!({ "deviceId": "a\r\nHost: evil" }), "/deviceId"),
        of("get-device", json!({ "deviceId": "gerät" }), "/deviceId"),
        of("get-device", json!({ "deviceId": "d1", "deviceid": "d2" }), "/deviceid"),
        of("create-device", json!({ "deviceId": "d1", "status": "on" }), "/status"),
        of("create-device", json!({ "deviceId": "d1", "statusReason": "x".repeat(129) }), "/statusReason"),
        of("create-device", json!({ "deviceId": "d1", "edge": "yes" }), "/edge"),
        of("create-device", json!({ "deviceId": "d1", "authentication": "password" }), "/authentication"),
        of("create-device", json!({ "deviceId": "d1", "authentication": "selfSigned" }), "/primaryThumbprint"),
        of("create-device", json!({ "deviceId": "d1", "primaryThumbprint": "zz" }), "/primaryThumbprint"),
        of(
            "create-device",
            json!({ "deviceId": "d1", "authentication": "certificateAuthority", "primaryKey": KEY }),
            "/primaryKey",
        ),
        of("create-device", json!({ "deviceId": "d1", "primaryKey": KEY }), "/secondaryKey"),
        of("delete-device", json!({ "deviceId": "d1", "etag": "a\"\r\nx: y" }), "/etag"),
        of("delete-device", json!({ "deviceId": "d1", "etag": "" }), "/etag"),
        of("update-device", json!({ "deviceId": "d1" }), ""),
        of("update-twin", json!({ "deviceId": "d1", "tags": [] }), "/tags"),
        of("update-twin", json!({ "deviceId": "d1", "tags": { "a.b": 1 } }), "/tags/a.b"),
        of("update-twin", json!({ "deviceId": "d1", "tags": { "$x": 1 } }), "/tags/$x"),
        of("update-twin", json!({ "deviceId": "d1", "desired": { "s": "x".repeat(4_097) } }), "/desired/s"),
        of("update-twin", json!({ "deviceId": "d1", "desired": { "n": 4_503_599_627_370_496_i64 } }), "/desired/n"),
        of("invoke-direct-method", json!({ "deviceId": "d1" }), "/methodName"),
        of("invoke-direct-method", json!({ "deviceId": "d1", "methodName": "" }), "/methodName"),
        of(
            "invoke-direct-method",
            json!({ "deviceId": "d1", "methodName": "m", "connectTimeoutSeconds": -1 }),
            "/connectTimeoutSeconds",
        ),
        of("send-cloud-to-device-message", json!({ "deviceId": "d1" }), "/body"),
        of("send-cloud-to-device-message", json!({ "deviceId": "a/b", "body": 1 }), "/deviceId"),
        of("send-cloud-to-device-message", json!({ "deviceId": "d1", "moduleId": "a/b", "body": 1 }), "/moduleId"),
        of("send-cloud-to-device-message", json!({ "deviceId": "d1", "body": {}, "bodyEncoding": "text" }), "/body"),
        of("send-cloud-to-device-message", json!({ "deviceId": "d1", "body": "?", "bodyEncoding": "base64" }), "/body"),
        of(
            "send-cloud-to-device-message",
            json!({ "deviceId": "d1", "body": 1, "properties": { "a": "b\r\nc" } }),
            "/properties/a",
        ),
        of(
            "send-cloud-to-device-message",
            json!({ "deviceId": "d1", "body": 1, "properties": { "iothub-ack": "full" } }),
            "/properties/iothub-ack",
        ),
        of(
            "send-cloud-to-device-message",
            json!({ "deviceId": "d1", "body": 1, "expiresAfterSeconds": 172_801 }),
            "/expiresAfterSeconds",
        ),
        of(
            "send-cloud-to-device-message",
            json!({ "deviceId": "d1", "body": 1, "acknowledgement": "maybe" }),
            "/acknowledgement",
        ),
        of("send-cloud-to-device-message", json!({ "deviceId": "d1", "body": 1, "messageId": "ä" }), "/messageId"),
        of(
            "send-device-to-cloud-message",
            json!({ "deviceId": "d1", "body": 1, "properties": { "a: b": "c" } }),
            "/properties/a: b",
        ),
        of(
            "send-device-to-cloud-message",
            json!({ "deviceId": "d1", "body": 1, "contentType": "text/plain\r\nx: y" }),
            "/contentType",
        ),
        of("purge-cloud-to-device-messages", json!({ "deviceId": "" }), "/deviceId"),
        of("get-individual-enrollment", json!({ "registrationId": "x." }), "/registrationId"),
        of("get-individual-enrollment", json!({ "registrationId": "a/b" }), "/registrationId"),
        of("delete-individual-enrollment", json!({ "registrationId": "x".repeat(129) }), "/registrationId"),
        of("query-registration-states", json!({}), "/enrollmentGroupId"),
        of("list-devices", json!({ "pageSize": 0 }), "/pageSize"),
        of("list-devices", json!({ "pageSize": 1_001 }), "/pageSize"),
        of("list-devices", json!({ "pageSize": 1.5 }), "/pageSize"),
    ]
}

/// Each case: trigger, configuration, cursor position, error code and pointer.
type Poll = (&'static str, Value, Option<Vec<u8>>, ErrorCode, &'static str);

fn polls() -> Vec<Poll> {
    let enrollment = "individual-enrollment-changed";
    vec![
        ("no-such-trigger", json!({}), None, ErrorCode::NotFound, ""),
        (enrollment, json!({ "changes": "created" }), None, ErrorCode::InvalidConfig, "/changes"),
        (enrollment, json!({ "changes": ["renamed"] }), None, ErrorCode::InvalidConfig, "/changes/0"),
        (enrollment, json!({ "registrationIds": "" }), None, ErrorCode::InvalidConfig, "/registrationIds"),
        (enrollment, json!({ "filter": 1 }), None, ErrorCode::InvalidConfig, "/filter"),
        ("registration-status-changed", json!({ "statuses": ["lost"] }), None, ErrorCode::InvalidConfig, "/statuses/0"),
        ("device-twin-changed", json!({ "parts": ["all"] }), None, ErrorCode::InvalidConfig, "/parts/0"),
        (
            "device-twin-changed",
            json!({ "condition": "x".repeat(2_000) }),
            None,
            ErrorCode::InvalidConfig,
            "/condition",
        ),
        ("device-twin-changed", json!({}), Some(vec![]), ErrorCode::InvalidInput, ""),
        ("device-twin-changed", json!({}), Some(vec![0, 1, 2]), ErrorCode::InvalidInput, ""),
        ("device-twin-changed", json!({}), Some(vec![1, 0xff]), ErrorCode::InvalidInput, ""),
        ("device-twin-changed", json!({}), Some(vec![77]), ErrorCode::Unsupported, ""),
        (
            "cloud-to-device-message-feedback",
            json!({ "statuses": ["Lost"] }),
            None,
            ErrorCode::InvalidConfig,
            "/statuses/0",
        ),
        ("file-upload-notifications", json!({ "blobNames": "*" }), None, ErrorCode::InvalidConfig, "/blobNames"),
        ("cloud-to-device-message-feedback", json!({}), Some(vec![0x61, 1]), ErrorCode::InvalidInput, ""),
        ("file-upload-notifications", json!({}), Some(vec![0x62; 17]), ErrorCode::Unsupported, ""),
        // The account of this test has no provisioning service.
        (enrollment, json!({}), None, ErrorCode::InvalidConfig, "/dpsHostName"),
    ]
}

/// Keeps all log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn said(error: &CallError) -> String {
    format!("{error} {error:?} {}", serde_json::to_string(error).expect("an error is JSON"))
}

fn typed(error: CallError, name: &str) -> Result<Error> {
    error.connector().cloned().with_context(|| format!("{name}: not the connector's own error: {error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_named_and_no_key_is_seen() -> Result<()> {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let connector = connector().await?;
    let tenant = Tenant::new(TenantOptions::default())?;
    let mut seen = String::new();
    let mut count = 0;

    for case in connections() {
        let connection = Connection::new(case.profile, Secret::new(case.values.clone()));
        let validation = connector.account(&tenant, &connection).validate().await.with_context(|| case.name)?;
        let found = validation.problems.iter().any(|problem| {
            problem.pointer == case.pointer
                && problem.code == case.code
                && problem.severity == Severity::Error
                && problem.fix.is_some()
        });
        assert!(found, "{}: no {} at \"{}\" in {:?}", case.name, case.code, case.pointer, validation.problems);
        seen += &format!("{validation:?} {}", serde_json::to_string(&validation)?);

        // Every function refuses the same values.
        let error = connector.account(&tenant, &connection).label().await.expect_err(case.name);
        seen += &said(&error);
        let error = typed(error, case.name)?;
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{}", case.name);
        assert!(error.fields.iter().any(|field| field.pointer == case.pointer), "{}: {:?}", case.name, error.fields);
        let error = connector
            .account(&tenant, &connection)
            .invoke("get-device", r#"{"deviceId":"d1"}"#, &Call::default())
            .await;
        seen += &said(&error.expect_err(case.name));
        count += 1;
    }

    let connection = Connection::new("shared-access-key", Secret::new(account(|_| {})));
    for (action, input, code, pointer) in inputs() {
        let name: String = format!("{action} {}", input.chars().take(80).collect::<String>());
        let error =
            connector.account(&tenant, &connection).invoke(action, &input, &Call::default()).await.expect_err(&name);
        seen += &said(&error);
        let error = typed(error, &name)?;
        assert_eq!(error.code, code, "{name}: {error:?}");
        let named = code == ErrorCode::NotFound || error.fields.iter().any(|field| field.pointer == pointer);
        assert!(named, "{name}: \"{pointer}\" is not in {:?}", error.fields);
        count += 1;
    }

    for (trigger, config, position, code, pointer) in polls() {
        let name = format!("{trigger} {config} {position:?}");
        let request = PollRequest {
            trigger: trigger.to_owned(),
            partition: "all".to_owned(),
            config: config.to_string(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor: position.map(|position| Cursor { snapshot: Vec::new(), position }),
            budget: Budget::default(),
        };
        let error = connector.account(&tenant, &connection).poll(&request).await.expect_err(&name);
        seen += &said(&error);
        let error = typed(error, &name)?;
        assert_eq!(error.code, code, "{name}: {error:?}");
        assert!(
            pointer.is_empty() || error.fields.iter().any(|field| field.pointer == pointer),
            "{name}: {:?}",
            error.fields
        );
        count += 1;
    }

    seen += &String::from_utf8_lossy(&log.0.lock().expect("no writer panics"));
    for secret in [KEY, PIECE] {
        if let Some(at) = seen.find(secret) {
            let from = seen.floor_char_boundary(at.saturating_sub(200));
            panic!("the key is seen: {}", &seen[from..at]);
        }
    }
    assert!(count >= 60, "{count} cases");
    println!("{count} malformed connections, inputs and cursors; {} bytes of output without the key", seen.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_is_named_at_once() -> Result<()> {
    let connector = connector().await?;
    let tenant = Tenant::new(TenantOptions::default())?;
    let values = json!({
        "iotHubName": "plant.example.com",
        "sharedAccessKeyName": "a:b",
        "sharedAccessKey": "***",
        "dpsHostName": "10.0.0.1",
        "dpsSharedAccessKeyName": "",
        "eventHubEndpoint": "ns",
        "surprise": 1,
    });
    let connection = Connection::new("shared-access-key", Secret::new(values.to_string()));
    let validation = connector.account(&tenant, &connection).validate().await?;
    let mut pointers: Vec<&str> = validation
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.pointer.as_str())
        .collect();
    pointers.sort_unstable();
    let expected = [
        "/dpsHostName",
        "/dpsSharedAccessKey",
        "/dpsSharedAccessKeyName",
        "/eventHubPath",
        "/iotHubName",
        "/sharedAccessKey",
        "/sharedAccessKeyName",
        "/surprise",
    ];
    assert_eq!(pointers, expected);
    Ok(())
}

/// Values in forms that people often paste are accepted, and the result says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_people_paste_is_understood() -> Result<()> {
    let connector = connector().await?;
    let tenant = Tenant::new(TenantOptions::default())?;
    let hub_string = format!("HostName=Plant.azure-devices.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    let events = format!(
        "Endpoint=sb://NS.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey={KEY};EntityPath=events"
    );
    let cases = [
        json!({ "iotHubName": "plant", "sharedAccessKeyName": "service", "sharedAccessKey": KEY }),
        json!({ "iotHubName": "https://PLANT.azure-devices.net/", "sharedAccessKeyName": " service ", "sharedAccessKey": format!("{KEY}\n") }),
        json!({ "iotHubName": hub_string }),
        json!({ "iotHubName": "plant", "sharedAccessKeyName": "service", "sharedAccessKey": hub_string }),
        json!({ "iotHubName": hub_string, "sharedAccessKeyName": "service", "sharedAccessKey": KEY, "eventHubEndpoint": events }),
        json!({ "iotHubName": "plant", "sharedAccessKeyName": "service", "sharedAccessKey": KEY, "eventHubEndpoint": "sb://ns.servicebus.windows.net/", "eventHubPath": "events" }),
    ];
    for values in cases {
        let connection = Connection::new("shared-access-key", Secret::new(values.to_string()));
        let validation = connector.account(&tenant, &connection).validate().await?;
        assert!(validation.is_usable(), "{values}: {:?}", validation.problems);
        let normalized: Value = serde_json::from_str(&validation.normalized)?;
        assert_eq!(normalized["iotHubName"], "plant.azure-devices.net", "{values}");
        assert_eq!(normalized["sharedAccessKeyName"], "service", "{values}");
        if values.get("eventHubEndpoint").is_some() {
            assert_eq!(normalized["eventHubHostName"], "ns.servicebus.windows.net", "{values}");
            assert_eq!(normalized["eventHubPath"], "events", "{values}");
        }
        assert!(!validation.normalized.contains(PIECE));
        assert_eq!(connector.account(&tenant, &connection).label().await?, "plant (service)");
    }
    Ok(())
}
