//! Tests of requests of the caller's own.

use serde_json::{Value, json};

use super::*;
use crate::error::EffectState;

#[test]
fn a_request_goes_to_the_accounts_own_hosts() {
    let platform = platform();
    platform.then_status(200, &[("etag", "\"AA==\""), ("set-cookie", "a=b")], r#"{"a":1.10}"#);
    platform.then_status(204, &[], "").then_status(200, &[("x-ms-continuation", "next")], "[]");
    let query = json!({ "top": 2, "a b&c": "x=y", "on": true });
    let input = json!({ "method": "GET", "path": "/devices/d %41#@evil.example:1", "query": query });
    let output = done(invoke(&platform, "custom-request", input));
    assert_eq!(output["status"], 200);
    assert_eq!(output["headers"], json!({ "etag": "\"AA==\"" }), "only headers that the services describe");
    assert_eq!(output["body"].to_string(), r#"{"a":1.10}"#);
    let input = json!({ "method": "DELETE", "path": "/x/y", "etag": "W/\"AA==\"", "apiVersion": "2024-03-31" });
    let output = done(invoke(&platform, "custom-request", input));
    assert_eq!(output, json!({ "status": 204, "headers": {}, "body": null }));
    let input = json!({
        "service": "dps", "method": "POST", "path": "/enrollments/query", "body": { "query": "*" }, "pageSize": 3,
        "continuation": "before",
    });
    let output = done(invoke(&platform, "custom-request", input));
    assert_eq!(output["headers"], json!({ "x-ms-continuation": "next" }));
    assert_eq!(
        requests(&platform),
        [
            sent(
                &format!("GET hub/devices/d%20%2541%23%40evil.example%3A1?a%20b%26c=x%3Dy&on=true&top=2&{HUB}"),
                &[],
                None
            ),
            sent("DELETE hub/x/y?api-version=2024-03-31", &[("if-match", "\"AA==\"")], None),
            sent(
                &format!("POST dps/enrollments/query?{DPS}"),
                &[("x-ms-max-item-count", "3"), ("x-ms-continuation", "before")],
                Some(json!({ "query": "*" }))
            ),
        ]
    );
}

#[test]
fn what_would_lead_elsewhere_is_refused() {
    let of = |input: Value| problems(&platform(), "custom-request", input);
    for path in ["https://evil.example/a", "evil.example", "//evil.example", "/a/..", "/a?b", "/a\\b", "/\u{7}a", "/a/"]
    {
        let found = of(json!({ "method": "GET", "path": path }));
        assert!(found.iter().all(|(at, _)| at == "/path"), "{path}: {found:?}");
    }
    for name in ["api-version", "API-Version"] {
        let found = of(json!({ "method": "GET", "path": "/a", "query": { name: "1" } }));
        assert_eq!(found, [(format!("/query/{name}"), "reserved".to_owned())]);
    }
    let found = of(json!({ "method": "TRACE", "path": "/a", "service": "eventhub", "apiVersion": "2021&x=1" }));
    assert_eq!(found, pairs(&[("/apiVersion", "characters"), ("/method", "not-allowed"), ("/service", "not-allowed")]));
    assert_eq!(of(json!({ "method": "GET", "path": "/a", "body": 1 })), pairs(&[("/body", "not-allowed")]));
    // A header with a line break is refused before anything is sent.
    let input = json!({ "method": "GET", "path": "/a", "continuation": "a\r\nx: y" });
    let platform = platform();
    let error = fails(invoke(&platform, "custom-request", input));
    assert_eq!((error.code(), requests(&platform).len()), (ErrorCode::InvalidInput, 0));
}

#[test]
fn only_what_can_be_repeated_is_repeated() {
    for (method, etag, repeated) in [
        ("GET", None, true),
        ("POST", None, false),
        ("PATCH", Some("*"), false),
        ("PUT", None, false),
        ("PUT", Some("*"), true),
        ("PUT", Some("AA=="), false),
        ("DELETE", None, false),
        ("DELETE", Some("*"), true),
    ] {
        let platform = platform();
        refusal(&platform, 500, "ServerError");
        if repeated {
            platform.then_status(200, &[], "{}");
        }
        let outcome = invoke(&platform, "custom-request", json!({ "method": method, "path": "/a", "etag": etag }));
        if repeated {
            done(outcome);
        } else {
            assert_eq!(fails(outcome).record().effect, EffectState::Unknown, "{method} {etag:?}");
        }
        assert_eq!(requests(&platform).len(), 1 + usize::from(repeated), "{method} {etag:?}");
    }
}

#[test]
fn errors_are_mapped_as_for_all() {
    let platform = platform();
    refusal(&platform, 412, "PreconditionFailed");
    let input = json!({ "method": "PUT", "path": "/devices/d", "etag": "AA==", "body": {} });
    assert_eq!(fails(invoke(&platform, "custom-request", input)).code(), ErrorCode::PreconditionFailed);
    platform.then_status(200, &[], "no JSON");
    let error = fails(invoke(&platform, "custom-request", json!({ "method": "POST", "path": "/a" })));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied));
    // A version that the service refuses is not replaced by another one.
    refusal(&platform, 400, "InvalidProtocolVersion");
    let input = json!({ "method": "GET", "path": "/a", "apiVersion": "2030-01-01" });
    let error = fails(invoke(&platform, "custom-request", input));
    assert!(error.code() == ErrorCode::Unsupported && error.record().message.contains("2030-01-01"), "{error}");
    assert_eq!(requests(&platform).len(), 3);
}

#[test]
fn a_dry_run_sends_only_reads_and_shows_no_keys() {
    let platform = platform();
    let keys = json!({ "authentication": { "symmetricKey": { "primaryKey": "c2VjcmV0LXNlY3JldA==" } } });
    let plan = dry_run(&platform, "custom-request", json!({ "method": "PUT", "path": "/devices/d", "body": keys }));
    assert_eq!(plan["url"], format!("https://actions.azure-devices.net/devices/d?{HUB}"));
    assert!(!plan.to_string().contains("c2VjcmV0LXNlY3JldA"), "{plan}");
    assert!(requests(&platform).is_empty());
}
