//! Tests of the actions on configurations.

use serde_json::{Value, json};

use super::*;
use crate::error::EffectState;

fn found() -> Value {
    json!({
        "id": "c1",
        "schemaVersion": "1.0",
        "labels": { "team": "day" },
        "content": { "deviceContent": { "properties.desired.a": { "b": 1 } }, "modulesContent": null },
        "targetCondition": "tags.site='north'",
        "priority": 10,
        "systemMetrics": { "results": { "appliedCount": 3 }, "queries": { "appliedCount": "select" } },
        "metrics": { "results": { "m": 1 }, "queries": { "m": "SELECT 1" } },
        "etag": "MQ==",
        "unheardOf": { "kept": true },
    })
}

const GET: &str = "GET hub/configurations/c1?api-version=2021-04-12";
const PUT: &str = "PUT hub/configurations/c1?api-version=2021-04-12";

fn creation() -> Value {
    json!({ "configurationId": "c1", "content": { "deviceContent": { "properties.desired.a": { "b": 1 } } } })
}

#[test]
fn a_configuration_is_created_without_a_condition() {
    let platform = platform();
    platform.then_status(201, &[], &found().to_string());
    let mut input = creation();
    input["targetCondition"] = json!("*");
    input["priority"] = json!(7);
    input["labels"] = json!({ "team": "day" });
    input["metrics"] = json!({ "m": "SELECT 1" });
    assert_eq!(done(invoke(&platform, "create-configuration", input)), found());
    let body = json!({
        "id": "c1", "schemaVersion": "1.0", "content": creation()["content"], "targetCondition": "*", "priority": 7,
        "labels": { "team": "day" }, "metrics": { "queries": { "m": "SELECT 1" } },
    });
    assert_eq!(requests(&platform), [sent(PUT, &[], Some(body))]);
}

#[test]
fn a_creation_without_an_answer_is_looked_up() {
    // What is there afterwards, and whether the creation counts as done.
    let mut other = found();
    other["content"] = json!({ "deviceContent": { "properties.desired.a": { "b": 2 } } });
    let mut own = found();
    own["content"] = creation()["content"].clone();
    for (there, is_done) in [(Some(own), true), (Some(other), false), (None, false)] {
        let platform = platform();
        refusal(&platform, 500, "ServerError");
        match &there {
            Some(there) => platform.then_status(200, &[], &there.to_string()),
            None => {
                refusal(&platform, 404, "ConfigurationNotFound");
                &platform
            }
        };
        let outcome = invoke(&platform, "create-configuration", creation());
        if is_done {
            assert_eq!(done(outcome), there.expect("there"));
        } else {
            assert_eq!(fails(outcome).record().effect, EffectState::Unknown);
        }
        let lines: Vec<String> = requests(&platform).into_iter().map(|request| request.line).collect();
        assert_eq!(lines, [PUT, GET], "it is sent once");
    }
}

#[test]
fn an_existing_configuration_fails_or_is_kept() {
    let platform = platform();
    refusal(&platform, 409, "ConfigurationAlreadyExists");
    let error = fails(invoke(&platform, "create-configuration", creation()));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Conflict, EffectState::None));
    refusal(&platform, 409, "ConfigurationAlreadyExists");
    platform.then_status(200, &[], &found().to_string());
    let mut keep = creation();
    keep["ifExists"] = json!("keep");
    assert_eq!(done(invoke(&platform, "create-configuration", keep)), found());
}

#[test]
fn content_has_its_rules() {
    let of = |content: Value, condition: &str| {
        let input = json!({ "configurationId": "c1", "content": content, "targetCondition": condition });
        problems(&platform(), "create-configuration", input)
    };
    let one = json!({ "properties.desired.a": { "b": 1 } });
    let kinds = "/content";
    assert_eq!(of(json!({}), ""), pairs(&[(kinds, "one-of")]));
    assert_eq!(of(json!({ "deviceContent": one, "moduleContent": one }), ""), pairs(&[(kinds, "one-of")]));
    assert_eq!(of(json!({ "deviceContent": {} }), ""), pairs(&[("/content/deviceContent", "empty")]));
    assert_eq!(
        of(json!({ "deviceContent": { "tags.a": 1, "properties.desiredX": 1, "properties.desired..a": 1 } }), ""),
        pairs(&[
            ("/content/deviceContent/properties.desired..a", "not-desired"),
            ("/content/deviceContent/properties.desiredX", "not-desired"),
            ("/content/deviceContent/tags.a", "not-desired"),
        ])
    );
    assert_eq!(
        of(json!({ "deviceContent": { "properties.desired": 1 } }), ""),
        pairs(&[("/content/deviceContent/properties.desired", "wrong-type")])
    );
    assert_eq!(
        of(json!({ "modulesContent": { "a/b": { "x": 1 }, "c": 7 } }), ""),
        pairs(&[("/content/modulesContent/c", "wrong-type")])
    );
    assert_eq!(
        of(json!({ "modulesContent": { "a/b": { "x": 1 } } }), ""),
        pairs(&[("/content/modulesContent/a~1b/x", "not-desired")])
    );
    assert_eq!(
        of(json!({ "moduleContent": one }), "tags.site='north'"),
        pairs(&[("/targetCondition", "not-for-modules")])
    );
    let bad =
        json!({ "configurationId": "C1", "content": { "deviceContent": one }, "priority": -1, "labels": { "a": 1 } });
    assert_eq!(
        problems(&platform(), "create-configuration", bad),
        pairs(&[("/configurationId", "characters"), ("/labels/a", "wrong-type"), ("/priority", "too-small")])
    );
    for condition in ["", "FROM  devices.modules WHERE moduleId='m'"] {
        let platform = platform();
        platform.then_status(201, &[], &found().to_string());
        let input =
            json!({ "configurationId": "c1", "content": { "moduleContent": one }, "targetCondition": condition });
        done(invoke(&platform, "create-configuration", input));
    }
}

#[test]
fn updating_changes_what_was_asked_and_nothing_else() {
    let table = [
        (json!({ "priority": 20 }), "/priority", json!(20)),
        (json!({ "targetCondition": "" }), "/targetCondition", json!("")),
        (json!({ "labels": {} }), "/labels", json!({})),
        (json!({ "metrics": { "n": "SELECT 2" } }), "/metrics/queries", json!({ "n": "SELECT 2" })),
    ];
    for (mut input, at, value) in table {
        let platform = platform();
        platform.then_status(200, &[("etag", "\"Mg==\"")], &found().to_string());
        platform.then_status(200, &[], &found().to_string());
        input["configurationId"] = json!("c1");
        input["content"] = json!({ "deviceContent": { "properties.desired.a": { "b": 1 } } });
        done(invoke(&platform, "update-configuration", input));
        let mut expected = found();
        expected["etag"] = json!("Mg==");
        *expected.pointer_mut(at).expect(at) = value;
        let put = sent(PUT, &[("if-match", "\"Mg==\"")], Some(expected));
        assert_eq!(requests(&platform), [sent(GET, &[], None), put]);
    }
}

#[test]
fn content_cannot_be_changed() {
    for content in [
        json!({ "deviceContent": { "properties.desired.a": { "b": 2 } } }),
        json!({ "modulesContent": { "m": { "properties.desired.a": {} } } }),
        json!({}),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &found().to_string());
        let input = json!({ "configurationId": "c1", "priority": 1, "content": content });
        let error = fails(invoke(&platform, "update-configuration", input));
        let field = &error.record().fields[0];
        assert_eq!(
            (error.code(), field.pointer.as_str(), field.code.as_str()),
            (ErrorCode::InvalidInput, "/content", "immutable")
        );
        assert_eq!(requests(&platform).len(), 1, "nothing is written");
    }
    let nothing = json!({ "configurationId": "c1", "content": {} });
    assert_eq!(problems(&platform(), "update-configuration", nothing), pairs(&[("", "nothing-to-change")]));
}

#[test]
fn others_changes_are_kept_unless_an_etag_is_stated() {
    let platform = platform();
    platform.then_status(200, &[], &found().to_string());
    refusal(&platform, 412, "PreconditionFailed");
    let mut newer = found();
    newer["labels"] = json!({ "team": "night" });
    newer["etag"] = json!("Mw==");
    platform.then_status(200, &[], &newer.to_string()).then_status(200, &[], &newer.to_string());
    done(invoke(&platform, "update-configuration", json!({ "configurationId": "c1", "priority": 5 })));
    let last = requests(&platform).pop().expect("a request");
    assert_eq!(last.headers, [("if-match".to_owned(), "\"Mw==\"".to_owned())]);
    let body = last.body.expect("a body");
    assert_eq!((&body["labels"]["team"], &body["priority"]), (&json!("night"), &json!(5)));

    let platform = super::platform();
    platform.then_status(200, &[], &found().to_string());
    refusal(&platform, 412, "PreconditionFailed");
    let input = json!({ "configurationId": "c1", "priority": 5, "etag": "OLD=" });
    assert_eq!(fails(invoke(&platform, "update-configuration", input)).code(), ErrorCode::PreconditionFailed);
    assert_eq!(requests(&platform)[1].headers, [("if-match".to_owned(), "\"OLD=\"".to_owned())]);
}

#[test]
fn an_update_without_an_answer_is_looked_up() {
    for (priority, is_done) in [(5, true), (10, false)] {
        let platform = platform();
        platform.then_status(200, &[], &found().to_string());
        refusal(&platform, 500, "ServerError");
        let mut there = found();
        there["priority"] = json!(priority);
        platform.then_status(200, &[], &there.to_string());
        let outcome = invoke(&platform, "update-configuration", json!({ "configurationId": "c1", "priority": 5 }));
        if is_done {
            assert_eq!(done(outcome), there);
        } else {
            assert_eq!(fails(outcome).record().effect, EffectState::Unknown);
        }
        assert_eq!(requests(&platform).len(), 3);
    }
}

#[test]
fn the_other_requests_are_as_described() {
    let platform = platform();
    platform
        .then_status(204, &[], "")
        .then_status(200, &[], "[{\"id\":\"a\"}]")
        .then_status(200, &[], r#"{"targetConditionError":"no"}"#)
        .then_status(204, &[], "");
    done(invoke(&platform, "delete-configuration", json!({ "configurationId": "a%'b" })));
    let listed = done(invoke(&platform, "list-configurations", json!({})));
    assert_eq!(listed, json!({ "items": [{ "id": "a" }] }));
    let tested = json!({ "targetCondition": "x", "metrics": { "m": "SELECT" } });
    let answer = done(invoke(&platform, "test-configuration-queries", tested));
    assert_eq!(answer, json!({ "targetConditionError": "no" }));
    let modules = json!({ "filter": { "properties.desired": {} } });
    let applied = json!({ "deviceId": "g", "modulesContent": modules });
    let output = done(invoke(&platform, "apply-configuration-to-device", applied));
    assert_eq!(output, json!({ "deviceId": "g", "modules": ["filter"] }));
    assert_eq!(
        requests(&platform),
        [
            sent(&format!("DELETE hub/configurations/a%25%27b?{HUB}"), &[("if-match", "\"*\"")], None),
            sent(&format!("GET hub/configurations?top=100&{HUB}"), &[], None),
            sent(
                &format!("POST hub/configurations/testQueries?{HUB}"),
                &[],
                Some(json!({ "targetCondition": "x", "customMetricQueries": { "m": "SELECT" } }))
            ),
            sent(
                &format!("POST hub/devices/g/applyConfigurationContent?{HUB}"),
                &[],
                Some(json!({ "modulesContent": modules }))
            ),
        ]
    );
    let nothing = json!({ "deviceId": "g", "modulesContent": {} });
    assert_eq!(
        problems(&super::platform(), "apply-configuration-to-device", nothing),
        pairs(&[("/modulesContent", "empty")])
    );
}

#[test]
fn answers_of_another_shape_are_protocol_errors() {
    for (action, input, effect) in [
        ("get-configuration", json!({ "configurationId": "c1" }), EffectState::None),
        ("list-configurations", json!({}), EffectState::None),
        ("test-configuration-queries", json!({ "targetCondition": "*" }), EffectState::None),
        ("create-configuration", creation(), EffectState::Applied),
    ] {
        let platform = platform();
        platform.then_status(200, &[], "7");
        let error = fails(invoke(&platform, action, input));
        assert_eq!((error.code(), error.record().effect), (ErrorCode::Protocol, effect), "{action}");
    }
}

#[test]
fn a_dry_run_reads_and_shows_the_write() {
    let platform = platform();
    let plan = dry_run(&platform, "create-configuration", creation());
    assert_eq!((plan["method"].as_str(), &plan["body"]["content"]), (Some("PUT"), &creation()["content"]));
    platform.then_status(200, &[], &found().to_string());
    let plan = dry_run(&platform, "update-configuration", json!({ "configurationId": "c1", "priority": 5 }));
    assert_eq!((&plan["body"]["priority"], &plan["headers"]["if-match"]), (&json!(5), &json!("\"MQ==\"")));
    assert_eq!(requests(&platform).len(), 1);
}
