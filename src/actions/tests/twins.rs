//! Tests of twins and direct methods.

use serde_json::json;

use super::*;
use crate::error::EffectState;
use crate::json;
use crate::platform::{ExchangeError, ExchangeErrorKind};

#[test]
fn a_twin_is_passed_on_as_it_is() {
    let platform = platform();
    let twin = json!({ "deviceId": "d1", "etag": "AAAAAAAAAAE=", "tags": {}, "unheardOf": [1] });
    platform.then_status(200, &[], &twin.to_string());
    assert_eq!(done(invoke(&platform, "get-twin", json!({ "deviceId": "d1" }))), twin);
    assert_eq!(requests(&platform), [sent(&format!("GET hub/twins/d1?{HUB}"), &[], None)]);
}

#[test]
fn a_patch_is_sent_as_it_was_given() {
    let platform = platform();
    platform.then_status(200, &[], "{\"deviceId\":\"d1\"}").then_status(200, &[], "{\"deviceId\":\"d1\"}");
    let tags = json!({ "site": "north", "gone": null, "nested": { "gone": null } });
    done(invoke(&platform, "update-twin", json!({ "deviceId": "d1", "tags": tags })));
    let desired = json!({ "interval": 30, "$metadata": { "$lastUpdated": "x" }, "$version": 7 });
    done(invoke(
        &platform,
        "update-twin",
        json!({ "deviceId": "d1", "desired": desired, "tags": { "a": 1 }, "etag": "AAAAAAAAAAE=" }),
    ));
    assert_eq!(
        requests(&platform),
        [
            sent(&format!("PATCH hub/twins/d1?{HUB}"), &[("if-match", "\"*\"")], Some(json!({ "tags": tags }))),
            sent(
                &format!("PATCH hub/twins/d1?{HUB}"),
                &[("if-match", "\"AAAAAAAAAAE=\"")],
                Some(json!({ "tags": { "a": 1 }, "properties": { "desired": { "interval": 30 } } })),
            ),
        ]
    );
}

#[test]
fn what_no_twin_could_take_is_not_sent() {
    let long = "x".repeat(4097);
    let input = json!({ "deviceId": "d1", "tags": { "a.b": 1, "ok": long }, "desired": { "n": { "$x": 1 } } });
    let expected = [("/tags/a.b", "characters"), ("/tags/ok", "too-long"), ("/desired/n/$x", "characters")];
    assert_eq!(problems(&platform(), "update-twin", input), pairs(&expected));
    for nothing in [
        json!({ "deviceId": "d1" }),
        json!({ "deviceId": "d1", "tags": {}, "desired": null }),
        json!({ "deviceId": "d1", "desired": { "$version": 3 } }),
    ] {
        assert_eq!(problems(&platform(), "update-twin", nothing), pairs(&[("", "nothing-to-change")]));
    }
    let input = json!({ "deviceId": "d1", "reported": {}, "tags": 1 });
    assert_eq!(
        problems(&platform(), "update-twin", input),
        pairs(&[("/reported", "unknown-field"), ("/tags", "wrong-type")])
    );
}

#[test]
fn a_twin_that_was_changed_meanwhile() {
    let platform = platform();
    refusal(&platform, 412, "PreconditionFailed");
    let input = json!({ "deviceId": "d1", "tags": { "a": 1 }, "etag": "AAAAAAAAAAE=" });
    assert_eq!(fails(invoke(&platform, "update-twin", input.clone())).code(), ErrorCode::PreconditionFailed);
    let plan = dry_run(&platform, "update-twin", input);
    assert_eq!((plan["method"].as_str(), &plan["body"]), (Some("PATCH"), &json!({ "tags": { "a": 1 } })));
}

#[test]
fn a_method_is_called_and_the_devices_own_status_is_the_output() {
    let platform = platform();
    platform.then_status(200, &[], "{\"status\":500,\"payload\":[1]}").then_status(200, &[], "{\"status\":-1}");
    let input = json!({ "deviceId": "d1", "methodName": "reboot", "payload": "now", "responseTimeoutSeconds": 40, "connectTimeoutSeconds": 10 });
    assert_eq!(done(invoke(&platform, "invoke-direct-method", input)), json!({ "status": 500, "payload": [1] }));
    let output = done(invoke(&platform, "invoke-direct-method", json!({ "deviceId": "d1", "methodName": "reboot" })));
    assert_eq!(output, json!({ "status": -1, "payload": null }));
    assert_eq!(
        requests(&platform),
        [
            sent(
                &format!("POST hub/twins/d1/methods?{HUB}"),
                &[],
                Some(
                    json!({ "methodName": "reboot", "payload": "now", "responseTimeoutInSeconds": 40, "connectTimeoutInSeconds": 10 })
                ),
            ),
            sent(
                &format!("POST hub/twins/d1/methods?{HUB}"),
                &[],
                Some(json!({ "methodName": "reboot", "payload": null, "responseTimeoutInSeconds": 30 })),
            ),
        ]
    );
}

#[test]
fn a_near_deadline_shortens_the_waiting() {
    let platform = platform();
    platform.then_status(200, &[], "{\"status\":200}");
    let near = Call { deadline_ms: 12_100, ..call(false) };
    let input = json!({ "deviceId": "d1", "methodName": "reboot" }).to_string();
    done(crate::actions::invoke(&platform, &connection(), "invoke-direct-method", &input, &near));
    assert_eq!(requests(&platform)[0].body.as_ref().expect("a body")["responseTimeoutInSeconds"], 10);
}

#[test]
fn a_method_that_failed_says_whether_it_may_have_run() {
    let input = || json!({ "deviceId": "d1", "methodName": "reboot" });
    let platform = platform();
    refusal(&platform, 404, "DeviceNotOnline");
    let error = fails(invoke(&platform, "invoke-direct-method", input()));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::DeviceOffline, EffectState::None));
    refusal(&platform, 504, "GatewayTimeout");
    let error = fails(invoke(&platform, "invoke-direct-method", input()));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Timeout, EffectState::Unknown));
    platform.then(|_, _| Err(ExchangeError { kind: ExchangeErrorKind::Timeout, sent: true, detail: String::new() }));
    let error = fails(invoke(&platform, "invoke-direct-method", input()));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Timeout, EffectState::Unknown));
    for strange in ["[]", "{\"status\":\"ok\"}", ""] {
        platform.then_status(200, &[], strange);
        let error = fails(invoke(&platform, "invoke-direct-method", input()));
        assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied));
    }
    assert_eq!(requests(&platform).len(), 6, "never sent twice");
}

#[test]
fn what_no_method_takes_is_not_sent() {
    let large = json!({ "deviceId": "d1", "methodName": "m", "payload": "x".repeat(128 * 1024 - 1) });
    assert_eq!(fails(invoke(&platform(), "invoke-direct-method", large)).code(), ErrorCode::PayloadTooLarge);
    let platform = platform();
    platform.then_status(200, &[], "{\"status\":200}");
    let fits = json!({ "deviceId": "d1", "methodName": "m", "payload": "x".repeat(128 * 1024 - 2) });
    done(invoke(&platform, "invoke-direct-method", fits));
    let input = json!({ "deviceId": "d1", "methodName": "two words", "responseTimeoutSeconds": 4, "connectTimeoutSeconds": 301 });
    let expected = [
        ("/connectTimeoutSeconds", "too-large"),
        ("/methodName", "characters"),
        ("/responseTimeoutSeconds", "too-small"),
    ];
    assert_eq!(problems(&super::platform(), "invoke-direct-method", input), pairs(&expected));
}

#[test]
fn a_dry_run_calls_nothing() {
    let platform = platform();
    let plan = dry_run(&platform, "invoke-direct-method", json!({ "deviceId": "d1", "methodName": "reboot" }));
    assert_eq!(plan["url"], format!("https://actions.azure-devices.net/twins/d1/methods?{HUB}"));
    assert!(requests(&platform).is_empty());
}

/// Numbers that a double would round. They must stay exact in requests and in outputs.
const EXACT: &str = r#"{"a":9007199254740993.5,"b":1e-400,"c":[0.1000000000000000055,{"d":1.10}],"e":-0.0}"#;
/// More such numbers, some of which a twin does not accept. A direct method's payload may contain any number.
const HUGE: &str = r#"{"a":123456789012345678901234567890,"b":1e+400,"c":-0,"d":18446744073709551616}"#;

fn body(platform: &FakePlatform, at: usize) -> String {
    let body = platform.requests.borrow()[at].body.clone();
    String::from_utf8(body.unwrap_or_default()).expect("text")
}

fn text(outcome: Result<Outcome>) -> String {
    match outcome {
        Ok(Outcome::Done(output) | Outcome::Planned(output)) => output,
        other => panic!("not done: {other:?}"),
    }
}

fn invoke_text(platform: &FakePlatform, action: &str, input: &str, dry_run: bool) -> String {
    text(crate::actions::invoke(platform, &connection(), action, input, &call(dry_run)))
}

#[test]
fn twins_keep_the_digits_of_their_numbers() {
    let platform = platform();
    let twin = format!(r#"{{"deviceId":"d1","properties":{{"reported":{HUGE}}},"tags":{EXACT}}}"#);
    for _ in 0..2 {
        platform.then_status(200, &[], &twin);
    }
    platform.then_status(200, &[], &format!("[{twin}]"));
    assert_eq!(invoke_text(&platform, "get-twin", r#"{"deviceId":"d1"}"#, false), twin);
    let input = format!(r#"{{"deviceId":"d1","tags":{EXACT},"desired":{EXACT}}}"#);
    assert_eq!(invoke_text(&platform, "update-twin", &input, false), twin);
    let patch = format!(r#"{{"properties":{{"desired":{EXACT}}},"tags":{EXACT}}}"#);
    assert_eq!(body(&platform, 1), patch);
    assert_eq!(invoke_text(&platform, "list-devices", "{}", false), format!(r#"{{"items":[{twin}]}}"#));
    let plan = invoke_text(&platform, "update-twin", &input, true);
    assert!(plan.contains(&patch), "{plan}");
}

#[test]
fn methods_keep_the_digits_of_their_numbers() {
    let platform = platform();
    platform.then_status(200, &[], &format!(r#"{{"payload":{HUGE},"status":200}}"#));
    let input = format!(r#"{{"deviceId":"d1","methodName":"m","payload":{HUGE},"responseTimeoutSeconds":3e1}}"#);
    let output = invoke_text(&platform, "invoke-direct-method", &input, false);
    assert_eq!(output, format!(r#"{{"payload":{HUGE},"status":200}}"#));
    assert_eq!(
        body(&platform, 0),
        format!(r#"{{"methodName":"m","payload":{HUGE},"responseTimeoutInSeconds":30}}"#),
        "a whole number is one however it is written"
    );
}

#[test]
fn messages_keep_the_digits_of_their_numbers() {
    let platform = platform();
    platform.then_status(204, &[], "");
    let input = format!(r#"{{"deviceId":"d1","body":{HUGE},"properties":{{"n":9007199254740993.10}}}}"#);
    invoke_text(&platform, "send-device-to-cloud-message", &input, false);
    assert_eq!(body(&platform, 0), HUGE);
    let sent = &requests_headers(&platform)["iothub-app-n"];
    assert_eq!(sent, "9007199254740993.10");
}

fn requests_headers(platform: &FakePlatform) -> std::collections::BTreeMap<String, String> {
    platform.requests.borrow()[0].headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

#[test]
fn an_object_with_a_strange_key_stays_one() {
    let strange = r#"{"$serde_json::private::Number":"1","x":{"$serde_json::private::RawValue":"[1"}}"#;
    let platform = platform();
    platform.then_status(200, &[], &format!(r#"{{"payload":{strange},"status":200}}"#));
    let input = format!(r#"{{"deviceId":"d1","methodName":"m","payload":{strange}}}"#);
    let output = invoke_text(&platform, "invoke-direct-method", &input, false);
    assert_eq!(output, format!(r#"{{"payload":{strange},"status":200}}"#));
    assert!(body(&platform, 0).contains(strange));
}

#[test]
fn a_null_in_an_array_is_named_and_not_sent_in_a_dry_run_either() {
    let input = json!({ "deviceId": "d1", "tags": { "a": [1, null] }, "desired": { "b": { "c": [[null]] } } });
    let expected = pairs(&[("/tags/a/1", "null-in-array"), ("/desired/b/c/0/0", "null-in-array")]);
    assert_eq!(problems(&platform(), "update-twin", input.clone()), expected);
    let error =
        fails(crate::actions::invoke(&platform(), &connection(), "update-twin", &input.to_string(), &call(true)));
    let found: Vec<(String, String)> =
        error.record().fields.iter().map(|problem| (problem.pointer.clone(), problem.code.clone())).collect();
    assert_eq!(found, expected);
}

fn nested(levels: usize) -> String {
    r#"{"a":"#.repeat(levels) + "1.10" + &"}".repeat(levels)
}

/// When the answer arrives, the method has already run. In an earlier version a deeply nested answer was lost, because
/// the connector could not read it or the engine refused it.
#[test]
fn a_device_cannot_answer_what_nobody_reads() {
    for levels in [1, 100, 121, 122, 123, 124, 125, 126, 127, 128, 1_000] {
        let platform = platform();
        platform.then_status(200, &[], &format!(r#"{{"status":200,"payload":{}}}"#, nested(levels)));
        let outcome = invoke(&platform, "invoke-direct-method", json!({ "deviceId": "d1", "methodName": "m" }));
        let Ok(Outcome::Done(output)) = outcome else { panic!("{levels}: {outcome:?}") };
        assert_eq!(connector_rules::json::check(&output), Ok(()), "{levels}");
        let output = json::parse(output.as_bytes()).expect("JSON");
        assert_eq!(output["status"], 200);
        assert_eq!(output.get("payloadNote").is_some(), levels + 1 > json::RECORD_LEVELS, "{levels}");
    }
}

/// A record is nested two levels deep in a page's output, but only one level deep in the hub's answer.
#[test]
fn no_record_keeps_others_from_being_delivered() {
    for levels in [1, 122, 123, 124, 125, 126, 127, 128, 1_000] {
        let platform = platform();
        let deep = format!(r#"{{"deviceId":"d1","tags":{}}}"#, nested(levels));
        platform.then_status(200, &[], &format!(r#"[{deep},{{"deviceId":"d2"}}]"#));
        let outcome = invoke(&platform, "list-devices", json!({}));
        let Ok(Outcome::Done(output)) = outcome else { panic!("{levels}: {outcome:?}") };
        assert_eq!(connector_rules::json::check(&output), Ok(()), "{levels}");
        platform.then_status(200, &[], &deep);
        let outcome = invoke(&platform, "get-twin", json!({ "deviceId": "d1" }));
        let Ok(Outcome::Done(output)) = outcome else { panic!("{levels}: {outcome:?}") };
        assert_eq!(connector_rules::json::check(&output), Ok(()), "{levels}");
    }
}

/// A value that was too deep to read is kept as text. This text must not be written back to the registry.
#[test]
fn a_record_that_was_not_read_whole_is_not_written_back() {
    let platform = platform();
    platform.then_status(
        200,
        &[],
        &format!(r#"{{"deviceId":"d1","etag":"x","status":"enabled","capabilities":{}}}"#, nested(200)),
    );
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d1", "status": "disabled" })));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Unsupported, EffectState::None));
    assert_eq!(requests(&platform).len(), 1, "nothing was written");
}

/// An input becomes a part of a request and of a plan, which add levels of nesting around it.
#[test]
fn an_input_leaves_room_for_what_is_around_it() {
    let input = |levels: usize| format!(r#"{{"deviceId":"d1","methodName":"m","payload":{}}}"#, nested(levels - 1));
    let plan =
        |input: &str| super::super::invoke(&platform(), &connection(), "invoke-direct-method", input, &call(true));
    let Ok(Outcome::Planned(plan_of_deepest)) = plan(&input(json::RECORD_LEVELS)) else { panic!("no plan") };
    assert_eq!(connector_rules::json::check(&plan_of_deepest), Ok(()));
    for levels in [json::RECORD_LEVELS + 1, 127, 128, 1_000] {
        let error = fails(plan(&input(levels)));
        assert_eq!((error.code(), error.record().fields[0].code.as_str()), (ErrorCode::InvalidInput, "too-deep"));
    }
}

#[test]
fn twins_of_modules_have_their_own_path() {
    let platform = platform();
    let twin = json!({ "deviceId": "d1", "moduleId": "m#1", "etag": "AAAAAAAAAAE=", "unheardOf": 1 });
    for _ in 0..5 {
        platform.then_status(200, &[], &twin.to_string());
    }
    let whole = json!({ "deviceId": "d1", "moduleId": "m#1", "tags": { "a": 1 }, "desired": { "b": 2, "$version": 7 }, "etag": "AAAAAAAAAAE=" });
    assert_eq!(done(invoke(&platform, "get-module-twin", json!({ "deviceId": "d1", "moduleId": "m#1" }))), twin);
    assert_eq!(done(invoke(&platform, "update-module-twin", whole.clone())), twin);
    assert_eq!(done(invoke(&platform, "replace-module-twin", whole)), twin);
    done(invoke(&platform, "replace-twin", json!({ "deviceId": "d1", "tags": {}, "desired": {} })));
    platform.answers.borrow_mut().clear();
    platform.then_status(200, &[], r#"{"status":200,"payload":1}"#);
    let call = json!({ "deviceId": "d1", "moduleId": "m#1", "methodName": "m" });
    assert_eq!(done(invoke(&platform, "invoke-module-direct-method", call)), json!({ "status": 200, "payload": 1 }));
    let path = format!("hub/twins/d1/modules/m%231?{HUB}");
    let body = json!({ "tags": { "a": 1 }, "properties": { "desired": { "b": 2 } } });
    let etag = ("if-match", "\"AAAAAAAAAAE=\"");
    assert_eq!(
        requests(&platform),
        [
            sent(&format!("GET {path}"), &[], None),
            sent(&format!("PATCH {path}"), &[etag], Some(body.clone())),
            sent(&format!("PUT {path}"), &[etag], Some(body)),
            sent(
                &format!("PUT hub/twins/d1?{HUB}"),
                &[("if-match", "\"*\"")],
                Some(json!({ "tags": {}, "properties": { "desired": {} } })),
            ),
            sent(
                &format!("POST hub/twins/d1/modules/m%231/methods?{HUB}"),
                &[],
                Some(json!({ "methodName": "m", "payload": null, "responseTimeoutInSeconds": 30 })),
            ),
        ]
    );
}

/// Errors that all writes of twins must tell apart.
#[test]
fn writes_of_twins_fail_in_typed_ways() {
    let input =
        json!({ "deviceId": "d1", "moduleId": "m1", "tags": { "a": 1 }, "desired": {}, "etag": "AAAAAAAAAAE=" });
    let mut of_device = input.clone();
    of_device.as_object_mut().expect("an object").remove("moduleId");
    let actions = [
        ("update-twin", &of_device),
        ("replace-twin", &of_device),
        ("update-module-twin", &input),
        ("replace-module-twin", &input),
    ];
    for (action, input) in actions {
        let platform = platform();
        for (status, name, code) in [
            (404, "DeviceNotFound", ErrorCode::NotFound),
            (412, "PreconditionFailed", ErrorCode::PreconditionFailed),
            (400, "ArgumentInvalid", ErrorCode::InvalidInput),
        ] {
            refusal(&platform, status, name);
            let error = fails(invoke(&platform, action, input.clone()));
            assert_eq!((error.code(), error.record().effect), (code, EffectState::None), "{action}");
        }
        platform.then_status(200, &[], "[]");
        let error = fails(invoke(&platform, action, input.clone()));
        assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, EffectState::Applied), "{action}");
        let bad = json!({ "deviceId": "d1", "moduleId": "..", "tags": {} });
        assert_eq!(fails(invoke(&platform, action, bad)).code(), ErrorCode::InvalidInput, "{action}");
        let plan = dry_run(&platform, action, input.clone());
        assert_eq!(plan["body"]["tags"], json!({ "a": 1 }), "{action}");
        assert_eq!(requests(&platform).len(), 4, "{action}");
    }
}

/// With an ETag nothing is sent twice; a twin that is as it was to be shows that the lost request was carried out.
#[test]
fn a_write_without_an_answer_is_looked_up() {
    let lost = |platform: &FakePlatform| {
        platform.then(|_, _| Err(ExchangeError { kind: ExchangeErrorKind::Broken, sent: true, detail: String::new() }));
    };
    let input = json!({ "deviceId": "d1", "tags": { "a": 1, "gone": null }, "desired": {}, "etag": "AAAAAAAAAAE=" });
    let twin = |tags: Value| {
        let desired = json!({ "$version": 1, "$metadata": {} });
        json!({ "deviceId": "d1", "tags": tags, "properties": { "desired": desired } })
    };
    for (action, found, written) in [
        ("update-twin", twin(json!({ "a": 1, "other": 2 })), true),
        ("update-twin", twin(json!({ "a": 1, "gone": 2 })), false),
        ("replace-twin", twin(json!({ "a": 1 })), true),
        ("replace-twin", twin(json!({ "a": 1, "other": 2 })), false),
    ] {
        let platform = platform();
        lost(&platform);
        platform.then_status(200, &[], &found.to_string());
        let outcome = invoke(&platform, action, input.clone());
        if written {
            assert_eq!(done(outcome), found, "{action}");
        } else {
            let error = fails(outcome);
            assert_eq!((error.code(), error.record().effect), (ErrorCode::Unavailable, EffectState::Unknown));
        }
        assert_eq!(requests(&platform).len(), 2, "{action}");
    }
}

#[test]
fn a_device_that_is_offline_is_left_a_property() {
    let platform = platform();
    let input = |more: Value| {
        let mut input = json!({ "deviceId": "d1", "methodName": "reboot" });
        for (name, value) in more.as_object().into_iter().flatten() {
            input[name] = value.clone();
        }
        input
    };
    let property = || {
        input(
            json!({ "whenOffline": "desiredProperty", "desiredPath": "commands.reboot", "desiredValue": { "id": 7 } }),
        )
    };
    platform.then_status(200, &[], r#"{"status":500,"payload":null}"#);
    let output = done(invoke(&platform, "reach-device", property()));
    assert_eq!(output, json!({ "way": "directMethod", "status": 500, "payload": null }));

    refusal(&platform, 404, "DeviceNotOnline");
    platform.then_status(200, &[("etag", "\"AAAAAAAAAAI=\"")], r#"{"deviceId":"d1"}"#);
    let output = done(invoke(&platform, "reach-device", property()));
    assert_eq!(output, json!({ "way": "desiredProperty", "etag": "AAAAAAAAAAI=" }));
    let patch = json!({ "properties": { "desired": { "commands": { "reboot": { "id": 7 } } } } });
    let sent_patch = sent(&format!("PATCH hub/twins/d1?{HUB}"), &[("if-match", "\"*\"")], Some(patch));
    assert_eq!(requests(&platform).pop(), Some(sent_patch));

    // Whatever else goes wrong, nothing is left for the device, because the method may have run.
    for (status, name, code) in [
        (504, "GatewayTimeout", ErrorCode::Timeout),
        (404, "DeviceNotFound", ErrorCode::NotFound),
        (404, "DeviceConnectionClosedRemotely", ErrorCode::DeviceOffline),
    ] {
        let before = requests(&platform).len();
        refusal(&platform, status, name);
        assert_eq!(fails(invoke(&platform, "reach-device", property())).code(), code);
        assert_eq!(requests(&platform).len(), before + 1, "{name}");
    }
    refusal(&platform, 404, "DeviceNotOnline");
    assert_eq!(fails(invoke(&platform, "reach-device", input(json!({})))).code(), ErrorCode::DeviceOffline);

    let bad = |more: Value| problems(&super::platform(), "reach-device", input(more));
    assert_eq!(bad(json!({ "desiredPath": "a" })), pairs(&[("/desiredPath", "not-used")]));
    assert_eq!(
        bad(json!({ "whenOffline": "desiredProperty" })),
        pairs(&[("/desiredPath", "missing"), ("/desiredValue", "missing")])
    );
    let wrong = json!({ "whenOffline": "desiredProperty", "desiredPath": "a..b", "desiredValue": 1 });
    assert_eq!(bad(wrong), pairs(&[("/desiredPath", "characters")]));
    let wrong = json!({ "whenOffline": "desiredProperty", "desiredPath": "a.b", "desiredValue": { "c d": [null] } });
    assert_eq!(bad(wrong), pairs(&[("/desiredValue/c d", "characters"), ("/desiredValue/c d/0", "null-in-array")]));
}

#[cfg(feature = "amqp")]
#[test]
fn a_message_for_a_device_is_checked_before_the_method_is_called() {
    let input = json!({
        "deviceId": "d1", "methodName": "reboot", "whenOffline": "cloudToDeviceMessage",
        "message": { "body": "no base64!", "bodyEncoding": "base64", "properties": { "a b": 1 } },
    });
    let expected = [("/message/body", "not-base64"), ("/message/properties/a b", "characters")];
    assert_eq!(problems(&platform(), "reach-device", input), pairs(&expected));
    let input = json!({ "deviceId": "d1", "methodName": "reboot", "message": { "body": 1 } });
    assert_eq!(problems(&platform(), "reach-device", input), pairs(&[("/message", "not-used")]));
}
