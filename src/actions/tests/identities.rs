//! Tests of modules, keys, tokens, connection strings, parents and statistics.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::bindings::workflow::connector::types::EffectState;
use crate::platform::{ExchangeError, ExchangeErrorKind};

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn identity(id: &str, etag: &str) -> Value {
    json!({
        "deviceId": id, "etag": etag, "status": "enabled",
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": key(200), "secondaryKey": key(201) } },
        "capabilities": { "iotEdge": false },
    })
}

fn module() -> Value {
    json!({
        "deviceId": "d#1", "moduleId": "m/1".replace('/', "#"), "etag": "MQ==", "managedBy": "us",
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": key(200), "secondaryKey": key(201) } },
        "unheardOf": { "kept": true },
    })
}

fn edge(id: &str) -> Value {
    json!({ "deviceId": id, "etag": "MQ==", "capabilities": { "iotEdge": true }, "deviceScope": scope(id) })
}

fn scope(id: &str) -> String {
    format!("ms-azure-iot-edge://{id}-638675123456789012")
}

fn lost(platform: &FakePlatform) {
    platform.then(|_, _| {
        Err(ExchangeError { kind: ExchangeErrorKind::Broken, sent: true, detail: "the connection broke".to_owned() })
    });
}

/// The one request of each action that makes one request, and what it makes of usual failures.
#[test]
fn single_requests() {
    let on_module = json!({ "deviceId": "d#1", "moduleId": "m" });
    for (action, input, line) in [
        ("get-registry-statistics", json!({}), "GET hub/statistics/devices?"),
        ("get-service-statistics", json!({}), "GET hub/statistics/service?"),
        ("get-module", on_module.clone(), "GET hub/devices/d%231/modules/m?"),
        ("delete-module", on_module.clone(), "DELETE hub/devices/d%231/modules/m?"),
        ("list-modules", json!({ "deviceId": "d#1" }), "GET hub/devices/d%231/modules?"),
        ("list-registry-devices", json!({ "top": 7 }), "GET hub/devices?top=7&"),
        ("create-device-sas-token", on_module.clone(), "GET hub/devices/d%231/modules/m?"),
        ("create-device-connection-string", on_module.clone(), "GET hub/devices/d%231/modules/m?"),
        ("get-device-parents", json!({ "deviceId": "d#1" }), "GET hub/devices/d%231?"),
    ] {
        let is_list = action.starts_with("list-");
        let platform = platform();
        let answer = if is_list { "[]".to_owned() } else { module().to_string() };
        platform.then_status(200, &[], &answer);
        done(invoke(&platform, action, input.clone()));
        assert_eq!(requests(&platform)[0].line, format!("{line}{HUB}"), "{action}");
        assert_eq!(requests(&platform).len(), 1, "{action}");

        let platform = super::platform();
        platform.then_status(429, &[("retry-after", "900")], r#"{"Message":"ErrorCode:ThrottlingException;slow"}"#);
        assert_eq!(fails(invoke(&platform, action, input.clone())).code(), ErrorCode::RateLimited, "{action}");
        if action != "delete-module" {
            for garbage in ["7", "no JSON"] {
                let platform = super::platform();
                platform.then_status(200, &[], garbage);
                assert_eq!(fails(invoke(&platform, action, input.clone())).code(), ErrorCode::Protocol, "{action}");
            }
        }
        if input.get("deviceId").is_some() {
            let platform = super::platform();
            refusal(&platform, 404, if input.get("moduleId").is_some() { "ModuleNotFound" } else { "DeviceNotFound" });
            assert_eq!(fails(invoke(&platform, action, input.clone())).code(), ErrorCode::NotFound, "{action}");
        }
    }
}

#[test]
fn a_module_is_made_read_changed_and_deleted() {
    let platform = platform();
    platform.then_status(201, &[], &module().to_string());
    let input =
        json!({ "deviceId": "d#1", "moduleId": "m", "managedBy": "us", "primaryKey": key(1), "secondaryKey": key(2) });
    let output = done(invoke(&platform, "create-module", input));
    assert_eq!(output["unheardOf"], json!({ "kept": true }));
    let body = json!({
        "deviceId": "d#1", "moduleId": "m", "managedBy": "us",
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } },
    });
    let line = format!("PUT hub/devices/d%231/modules/m?{HUB}");
    assert_eq!(requests(&platform), [sent(&line, &[], Some(body))]);

    // Members that the usual version does not know are kept.
    let platform = super::platform();
    platform.then_status(200, &[], &module().to_string()).then_status(200, &[], &module().to_string());
    let input = json!({ "deviceId": "d#1", "moduleId": "m", "keys": "swap", "managedBy": "them" });
    done(invoke(&platform, "update-module", input));
    let path = "hub/devices/d%231/modules/m?";
    let mut changed = module();
    changed["managedBy"] = json!("them");
    changed["authentication"]["symmetricKey"] = json!({ "primaryKey": key(201), "secondaryKey": key(200) });
    assert_eq!(
        requests(&platform),
        [
            sent(&format!("GET {path}{NEWEST_HUB}"), &[], None),
            sent(&format!("PUT {path}{NEWEST_HUB}"), &[("if-match", "\"MQ==\"")], Some(changed)),
        ]
    );

    let platform = super::platform();
    platform.then_status(204, &[], "");
    let output =
        done(invoke(&platform, "delete-module", json!({ "deviceId": "d#1", "moduleId": "m", "etag": "AA==" })));
    assert_eq!(output, json!({ "deviceId": "d#1", "moduleId": "m", "deleted": true }));
    assert_eq!(requests(&platform)[0].headers, [("if-match".to_owned(), "\"AA==\"".to_owned())]);
}

#[test]
fn a_module_that_exists_is_kept_or_refused() {
    let input = json!({ "deviceId": "d#1", "moduleId": "m" });
    let platform = platform();
    refusal(&platform, 409, "ModuleAlreadyExistsOnDevice");
    assert_eq!(fails(invoke(&platform, "create-module", input.clone())).code(), ErrorCode::Conflict);
    refusal(&platform, 409, "ModuleAlreadyExistsOnDevice");
    platform.then_status(200, &[], &module().to_string());
    let mut keep = input;
    keep["ifExists"] = json!("keep");
    assert_eq!(done(invoke(&platform, "create-module", keep))["managedBy"], "us");
    refusal(&platform, 404, "DeviceNotFound");
    let error = fails(invoke(&platform, "create-module", json!({ "deviceId": "gone", "moduleId": "m" })));
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[test]
fn keys_are_rotated() {
    for (rotate, given, expected) in [
        ("primary", json!({}), [key(1), key(201)]),
        ("secondary", json!({}), [key(200), key(1)]),
        ("both", json!({}), [key(1), key(2)]),
        ("swap", json!({}), [key(201), key(200)]),
        ("both", json!({ "secondaryKey": key(9) }), [key(1), key(9)]),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &identity("a", "MQ==").to_string());
        platform.then_status(200, &[], r#"{"deviceId":"a","etag":"Mg=="}"#);
        let mut input = given;
        input["deviceId"] = json!("a");
        input["rotate"] = json!(rotate);
        let output = done(invoke(&platform, "rotate-device-keys", input));
        let keys = json!({ "primaryKey": expected[0], "secondaryKey": expected[1] });
        let shown = json!({ "deviceId": "a", "etag": "Mg==", "primaryKey": expected[0], "secondaryKey": expected[1] });
        assert_eq!(output, shown);
        let sent = &requests(&platform)[1];
        assert_eq!(sent.headers, [("if-match".to_owned(), "\"MQ==\"".to_owned())]);
        assert_eq!(sent.body.as_ref().map(|body| &body["authentication"]["symmetricKey"]), Some(&keys));
    }
    for (input, expected) in [
        (json!({ "rotate": "swap", "primaryKey": key(1) }), ("/primaryKey", "not-allowed")),
        (json!({ "rotate": "primary", "secondaryKey": key(1) }), ("/secondaryKey", "not-allowed")),
        (json!({ "rotate": "primary", "primaryKey": "AAAA" }), ("/primaryKey", "not-a-key")),
        (json!({}), ("/rotate", "missing")),
    ] {
        let mut input = input;
        input["deviceId"] = json!("a");
        assert_eq!(problems(&platform(), "rotate-device-keys", input), pairs(&[expected]));
    }
}

/// A write whose answer is lost counts as made only if the identity shows all of it.
#[test]
fn a_lost_answer_is_looked_up() {
    for (etag, primary, made) in [("Mg==", key(1), true), ("MQ==", key(200), false), ("Mg==", key(50), false)] {
        let platform = platform();
        platform.then_status(200, &[], &identity("a", "MQ==").to_string());
        lost(&platform);
        let mut after = identity("a", etag);
        after["authentication"]["symmetricKey"]["primaryKey"] = json!(primary);
        platform.then_status(200, &[], &after.to_string());
        let outcome = invoke(&platform, "rotate-device-keys", json!({ "deviceId": "a", "rotate": "primary" }));
        if made {
            assert_eq!(done(outcome)["primaryKey"], key(1));
        } else {
            let error = fails(outcome);
            assert_eq!((error.code(), error.record().effect), (ErrorCode::Unavailable, EffectState::Unknown));
        }
        assert_eq!(requests(&platform).len(), 3);
    }
    let platform = platform();
    platform.then_status(200, &[], &identity("a", "MQ==").to_string());
    lost(&platform);
    (0..4).for_each(|_| lost(&platform));
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "a", "status": "disabled" })));
    assert_eq!(error.record().effect, EffectState::Unknown);
}

/// The signature is the one of the Azure CLI's own test.
#[test]
fn a_token_is_signed_as_microsofts_clients_sign_it() {
    let values = json!({
        "iotHubName": "iot-hub-for-test.azure-devices.net",
        "sharedAccessKeyName": "service",
        "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==",
    });
    let connection = Connection { auth_profile: "shared-access-key".into(), values: values.to_string() };
    let platform = FakePlatform::at(1_471_940_363 - 3600);
    let mut device = identity("iot-device-for-test", "MQ==");
    device["authentication"]["symmetricKey"]["secondaryKey"] = json!("+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw=");
    platform.then_status(200, &[], &device.to_string());
    let input = json!({ "deviceId": "iot-device-for-test", "slot": "secondary" }).to_string();
    let output = done(super::super::invoke(&platform, &connection, "create-device-sas-token", &input, &call(false)));
    let expected = json!({
        "deviceId": "iot-device-for-test",
        "resource": "iot-hub-for-test.azure-devices.net/devices/iot-device-for-test",
        "expiresAt": "2016-08-23T08:19:23.000Z",
        "token": "SharedAccessSignature sr=iot-hub-for-test.azure-devices.net%2Fdevices%2Fiot-device-for-test&sig=SIumZ1ACqqPJZ2okHDlW9MSYKykEpqsQY3z6FMOICd4%3D&se=1471940363",
    });
    assert_eq!(output, expected);
}

#[test]
fn tokens_and_connection_strings_need_a_key() {
    let of = |kind: &str| {
        let mut device = identity("a", "MQ==");
        device["authentication"] = json!({ "type": kind });
        device.to_string()
    };
    for kind in ["selfSigned", "certificateAuthority", "none"] {
        let platform = platform();
        platform.then_status(200, &[], &of(kind));
        let error = fails(invoke(&platform, "create-device-sas-token", json!({ "deviceId": "a" })));
        assert_eq!(error.record().fields[0].pointer, "/deviceId");
    }
    let platform = platform();
    platform.then_status(200, &[], &of("sas"));
    let error = fails(invoke(&platform, "create-device-sas-token", json!({ "deviceId": "a" })));
    assert_eq!(error.code(), ErrorCode::Protocol, "the hub did not give out the key");

    for (device, input, expected) in [
        (identity("a", "MQ==").to_string(), json!({}), format!(";SharedAccessKey={}", key(200))),
        (
            identity("a", "MQ==").to_string(),
            json!({ "slot": "secondary", "gatewayHostName": "gw.local" }),
            format!(";SharedAccessKey={};GatewayHostName=gw.local", key(201)),
        ),
        (of("selfSigned"), json!({}), ";x509=true".to_owned()),
    ] {
        let platform = super::platform();
        platform.then_status(200, &[], &device);
        let mut input = input;
        input["deviceId"] = json!("a");
        let output = done(invoke(&platform, "create-device-connection-string", input));
        assert_eq!(output["connectionString"], format!("HostName=actions.azure-devices.net;DeviceId=a{expected}"));
    }
    let platform = super::platform();
    platform.then_status(200, &[], &of("none"));
    let input = json!({ "deviceId": "a", "moduleId": "$edgeHub" });
    let error = fails(invoke(&platform, "create-device-connection-string", input));
    assert_eq!(error.record().fields[0].pointer, "/moduleId");
    let found = problems(&super::platform(), "create-device-connection-string", json!({ "deviceId": "a;b" }));
    assert_eq!(found, pairs(&[("/deviceId", "characters")]));
}

#[test]
fn a_parent_is_set_and_removed() {
    // A leaf shares its parent's scope; an IoT Edge device keeps its own.
    for (child, parent, expected_scope, parents) in [
        (identity("c", "MQ=="), Some("p"), Some(scope("p")), json!([scope("p")])),
        (edge("c"), Some("p"), Some(scope("c")), json!([scope("p")])),
        (identity("c", "MQ=="), None, Some(String::new()), json!([])),
        (edge("c"), None, Some(scope("c")), json!([])),
    ] {
        let platform = platform();
        if parent.is_some() {
            platform.then_status(200, &[], &edge("p").to_string());
        }
        platform.then_status(200, &[], &child.to_string()).then_status(200, &[], "{}");
        let input = match parent {
            Some(parent) => json!({ "deviceId": "c", "parentDeviceId": parent }),
            None => json!({ "deviceId": "c", "remove": true }),
        };
        done(invoke(&platform, "set-device-parent", input));
        let sent = requests(&platform);
        let body = sent.last().and_then(|it| it.body.clone()).expect("a body");
        assert_eq!(body.get("deviceScope").and_then(Value::as_str), expected_scope.as_deref());
        assert_eq!(body["parentScopes"], parents);
    }
}

#[test]
fn a_parent_must_fit() {
    let platform = platform();
    platform.then_status(200, &[], &identity("p", "MQ==").to_string());
    let error = fails(invoke(&platform, "set-device-parent", json!({ "deviceId": "c", "parentDeviceId": "p" })));
    assert_eq!(error.record().fields[0].pointer, "/parentDeviceId");

    let mut child = identity("c", "MQ==");
    child["deviceScope"] = json!(scope("other"));
    let input = json!({ "deviceId": "c", "parentDeviceId": "p" });
    let platform = super::platform();
    platform.then_status(200, &[], &edge("p").to_string()).then_status(200, &[], &child.to_string());
    let error = fails(invoke(&platform, "set-device-parent", input.clone()));
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert!(error.record().message.contains("\"other\""), "{error}");
    platform.then_status(200, &[], &edge("p").to_string()).then_status(200, &[], &child.to_string());
    platform.then_status(200, &[], "{}");
    let mut replace = input;
    replace["ifOtherParent"] = json!("replace");
    done(invoke(&platform, "set-device-parent", replace));

    for (input, expected) in [
        (json!({ "deviceId": "c" }), ("/parentDeviceId", "missing")),
        (json!({ "deviceId": "c", "parentDeviceId": "c" }), ("/parentDeviceId", "not-allowed")),
        (json!({ "deviceId": "c", "parentDeviceId": "p", "remove": true }), ("/remove", "not-allowed")),
    ] {
        assert_eq!(problems(&super::platform(), "set-device-parent", input), pairs(&[expected]));
    }
}

#[test]
fn parents_are_followed_to_the_top() {
    let platform = platform();
    let mut leaf = identity("leaf", "MQ==");
    leaf["deviceScope"] = json!(scope("near"));
    let mut near = edge("near");
    near["parentScopes"] = json!([scope("far")]);
    near["status"] = json!("enabled");
    platform.then_status(200, &[], &leaf.to_string()).then_status(200, &[], &near.to_string());
    refusal(&platform, 404, "DeviceNotFound");
    let output = done(invoke(&platform, "get-device-parents", json!({ "deviceId": "leaf" })));
    let expected = json!([
        { "deviceId": "near", "deviceScope": scope("near"), "exists": true, "status": "enabled" },
        { "deviceId": "far", "deviceScope": scope("far"), "exists": false },
    ]);
    assert_eq!(output, json!({ "deviceId": "leaf", "parents": expected }));

    // Parents in a circle come to an end, and so does a parent that was created again.
    let platform = super::platform();
    let mut own = edge("a");
    own["parentScopes"] = json!([scope("a")]);
    platform.then_status(200, &[], &own.to_string()).then_status(200, &[], &own.to_string());
    let output = done(invoke(&platform, "get-device-parents", json!({ "deviceId": "a" })));
    assert_eq!(output["parents"].as_array().map(Vec::len), Some(2));
    let platform = super::platform();
    platform.then_status(200, &[], &leaf.to_string());
    let mut again = edge("near");
    again["deviceScope"] = json!("ms-azure-iot-edge://near-7");
    platform.then_status(200, &[], &again.to_string());
    let output = done(invoke(&platform, "get-device-parents", json!({ "deviceId": "leaf" })));
    assert_eq!(output["parents"][0]["exists"], false);
}

#[test]
fn children_are_found_by_the_parents_scope() {
    let platform = platform();
    platform.then_status(200, &[], &edge("p").to_string());
    platform.then_status(200, &[("x-ms-continuation", "next")], r#"[{"deviceId":"a"}]"#);
    platform.then_status(200, &[], "[]");
    let token = match invoke(&platform, "list-child-devices", json!({ "deviceId": "p", "pageSize": 1 })) {
        Ok(Outcome::Page(page)) => page.token,
        other => panic!("not a page: {other:?}"),
    };
    done(crate::actions::resume(&platform, &connection(), "list-child-devices", &token, &call(false)));
    let query = format!("SELECT * FROM devices WHERE ARRAY_CONTAINS(parentScopes, '{}')", scope("p"));
    let sent = requests(&platform);
    assert_eq!(sent.len(), 3, "the parent is read once");
    assert!(sent[1..].iter().all(|it| it.body == Some(json!({ "query": query }))));
    let platform = super::platform();
    platform.then_status(200, &[], &identity("p", "MQ==").to_string());
    let error = fails(invoke(&platform, "list-child-devices", json!({ "deviceId": "p" })));
    assert_eq!(error.record().fields[0].pointer, "/deviceId");
}
