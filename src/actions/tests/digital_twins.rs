//! Tests of the actions on digital twins.

use serde_json::{Value, json};

use super::*;
use crate::error::EffectState;

#[test]
fn a_digital_twin_comes_with_its_etag() {
    let platform = platform();
    let twin = json!({ "$dtId": "d#1", "etag": "a property", "$metadata": { "$model": "" } });
    platform.then_status(200, &[("etag", "W/\"AAE=\"")], &twin.to_string());
    let output = done(invoke(&platform, "get-digital-twin", json!({ "deviceId": "d#1" })));
    assert_eq!(output, json!({ "etag": "AAE=", "digitalTwin": twin }));
    assert_eq!(requests(&platform), [sent(&format!("GET hub/digitaltwins/d%231?{HUB}"), &[], None)]);
    refusal(&platform, 404, "DeviceNotFound");
    assert_eq!(fails(invoke(&platform, "get-digital-twin", json!({ "deviceId": "d" }))).code(), ErrorCode::NotFound);
}

fn change(op: &str, path: &str) -> Value {
    json!({ "op": op, "path": path, "value": 1 })
}

#[test]
fn a_patch_is_sent_as_it_is() {
    let platform = platform();
    platform.then_status(202, &[("etag", "\"AAI=\""), ("location", "https://x")], "");
    platform.then_status(202, &[], "");
    let patch = json!([change("add", "/a"), { "op": "remove", "path": "/c1/b" }]);
    let input = json!({ "deviceId": "d", "patch": patch, "etag": "AAE=" });
    let output = done(invoke(&platform, "update-digital-twin", input));
    assert_eq!(output, json!({ "deviceId": "d", "etag": "AAI=" }));
    let input = json!({ "deviceId": "d", "patch": [change("replace", "/a")] });
    assert_eq!(done(invoke(&platform, "update-digital-twin", input)), json!({ "deviceId": "d" }));
    let line = format!("PATCH hub/digitaltwins/d?{HUB}");
    assert_eq!(
        requests(&platform),
        [
            sent(&line, &[("if-match", "\"AAE=\"")], Some(patch)),
            sent(&line, &[], Some(json!([change("replace", "/a")]))),
        ]
    );
}

/// Setting a value twice is as setting it once. Removing it twice is not, and a condition holds only once.
#[test]
fn only_a_patch_that_can_be_repeated_is_repeated() {
    let removal = json!([{ "op": "remove", "path": "/a" }]);
    let set = json!([change("replace", "/a")]);
    for (patch, etag, repeated) in [(&set, None, true), (&removal, None, false), (&set, Some("AAE="), false)] {
        let platform = platform();
        refusal(&platform, 500, "ServerError");
        if repeated {
            platform.then_status(202, &[], "");
        }
        let outcome =
            invoke(&platform, "update-digital-twin", json!({ "deviceId": "d", "patch": patch, "etag": etag }));
        if repeated {
            done(outcome);
        } else {
            assert_eq!(fails(outcome).record().effect, EffectState::Unknown);
        }
        assert_eq!(requests(&platform).len(), 1 + usize::from(repeated));
    }
}

#[test]
fn paths_and_values_are_checked() {
    let of = |patch: Value| problems(&platform(), "update-digital-twin", json!({ "deviceId": "d", "patch": patch }));
    assert_eq!(of(json!([])), pairs(&[("/patch", "too-few")]));
    for path in ["a", "/", "/a/", "//a", "/$metadata", "/a/$model", "/a/b/c", "/a b"] {
        assert!(of(json!([change("add", path)])).iter().all(|(at, _)| at == "/patch/0/path"), "{path}");
    }
    assert_eq!(
        of(json!([
            change("add", "/a"),
            { "op": "add", "path": "/a" },
            { "op": "replace", "path": "/a", "value": null },
            change("remove", "/a"),
        ])),
        pairs(&[("/patch/1/value", "missing"), ("/patch/2/value", "not-allowed"), ("/patch/3/value", "not-allowed")])
    );
    assert_eq!(of(json!([change("test", "/a")])), pairs(&[("/patch/0/op", "not-allowed")]));
}

#[test]
fn a_command_is_called_once() {
    let table = [
        (
            "invoke-digital-twin-command",
            json!({ "deviceId": "d#1", "commandName": "reboot" }),
            "/commands/reboot?responseTimeoutInSeconds=30&",
            json!({}),
        ),
        (
            "invoke-component-command",
            json!({
                "deviceId": "d#1", "componentName": "thermostat1", "commandName": "report", "payload": "2026-05-04",
                "responseTimeoutSeconds": 10, "connectTimeoutSeconds": 5,
            }),
            "/components/thermostat1/commands/report?responseTimeoutInSeconds=10&connectTimeoutInSeconds=5&",
            json!("2026-05-04"),
        ),
    ];
    for (action, input, path, payload) in table {
        let platform = platform();
        let line = format!("POST hub/digitaltwins/d%231{path}{HUB}");
        platform.then_status(200, &[("x-ms-command-statuscode", "404"), ("x-ms-request-id", "r-1")], "[1,null]");
        let output = done(invoke(&platform, action, input.clone()));
        assert_eq!(output, json!({ "status": 404, "payload": [1, null], "requestId": "r-1" }));
        assert_eq!(requests(&platform), [sent(&line, &[], Some(payload))]);

        // An empty answer is a command without a response.
        platform.then_status(200, &[("x-ms-command-statuscode", "200")], "");
        assert_eq!(done(invoke(&platform, action, input.clone())), json!({ "status": 200, "payload": null }));
        platform.then_status(200, &[], "{}");
        let error = fails(invoke(&platform, action, input.clone()));
        assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied), "no status");
        for (status, name, code, effect) in [
            (404, "DeviceNotOnline", ErrorCode::DeviceOffline, EffectState::None),
            (404, "DeviceNotFound", ErrorCode::NotFound, EffectState::None),
            (504, "GatewayTimeout", ErrorCode::Timeout, EffectState::Unknown),
        ] {
            let before = requests(&platform).len();
            refusal(&platform, status, name);
            let error = fails(invoke(&platform, action, input.clone()));
            assert_eq!((error.code(), error.record().effect), (code, effect), "{name}");
            assert_eq!(requests(&platform).len(), before + 1);
        }
    }
    let large = json!({ "deviceId": "d", "commandName": "c", "payload": "x".repeat(128 * 1024) });
    let error = fails(invoke(&platform(), "invoke-digital-twin-command", large));
    assert_eq!(error.code(), ErrorCode::PayloadTooLarge);
    let bad = json!({ "deviceId": "d", "componentName": "a/b", "commandName": "" });
    assert_eq!(
        problems(&platform(), "invoke-component-command", bad),
        pairs(&[("/commandName", "too-short"), ("/componentName", "characters")])
    );
}
