//! Tests of members that some versions of the services' APIs do not know: they must neither be dropped nor be written
//! where this is not allowed.

use serde_json::json;

use super::*;

const ENROLL: &str = "create-or-update-individual-enrollment";

/// A linked device as version 2026-11-01-preview shows it.
fn linked_device() -> Value {
    json!({
        "deviceId": "d1",
        "etag": "MQ==",
        "status": "enabled",
        "authentication": {
            "type": "certificateAuthority",
            "policyResourceId": "/subscriptions/s/policies/p",
            "x509CaValidation": { "scheme": "s", "value": { "a": 1 } },
        },
        "capabilities": { "iotEdge": false },
        "attributes": { "line": "3", "adrDeviceProperties": "a user's own" },
        "adrDeviceProperties": { "uuid": "u", "name": "d1", "etag": "e", "systemData": {} },
        "deviceResourceId": "/subscriptions/s/devices/d1",
        "armSyncStatus": { "state": "Succeeded", "errorMessage": null },
    })
}

fn classic_device() -> Value {
    json!({
        "deviceId": "d1", "etag": "MQ==", "status": "enabled", "statusReason": null,
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": "a", "secondaryKey": "b" } },
        "capabilities": { "iotEdge": false },
    })
}

fn without(mut object: Value, names: &[&str]) -> Value {
    names.iter().for_each(|name| drop(object.as_object_mut().expect("an object").remove(*name)));
    object
}

fn lines(platform: &FakePlatform) -> Vec<String> {
    requests(platform).into_iter().map(|sent| sent.line).collect()
}

fn refuse_hub_version(platform: &FakePlatform) {
    platform.then_status(400, &[], r#"{"Message":"ErrorCode:InvalidProtocolVersion;BadRequest"}"#);
}

/// The refusal that the provisioning service was seen to send (Azure/iotedge#4112).
fn refuse_dps_version(platform: &FakePlatform) {
    let body =
        r#"{"errorCode":400004,"trackingId":"t","message":"Unsupported API version 2026-11-01.","timestampUtc":"x"}"#;
    platform.then_status(400, &[], body);
}

const OWNED: [&str; 3] = ["adrDeviceProperties", "deviceResourceId", "armSyncStatus"];

#[test]
fn a_linked_device_keeps_all_and_its_registrys_members_are_not_written() {
    for input in [json!({ "status": "disabled" }), json!({ "statusReason": "lost" }), json!({ "edge": true })] {
        let platform = platform();
        platform.then_status(200, &[], &linked_device().to_string());
        platform.then_status(200, &[], &linked_device().to_string());
        let mut full = input.clone();
        full["deviceId"] = json!("d1");
        let output = done(invoke(&platform, "update-device", full));
        assert_eq!(output["adrDeviceProperties"]["uuid"], "u", "the output shows it");
        let sent = requests(&platform);
        assert_eq!(
            lines(&platform),
            [format!("GET hub/devices/d1?{NEWEST_HUB}"), format!("PUT hub/devices/d1?{NEWEST_HUB}")]
        );
        let mut expected = without(linked_device(), &OWNED);
        match input.get("edge") {
            Some(edge) => expected["capabilities"]["iotEdge"] = edge.clone(),
            None => expected.as_object_mut().expect("an object").extend(input.as_object().expect("members").clone()),
        }
        assert_eq!(sent[1].body.as_ref(), Some(&expected));
    }
}

#[test]
fn a_classic_device_is_written_at_the_stable_version() {
    for read in [
        classic_device(),
        // A newer API version may show a device that belongs to no registry with these empty members.
        json!({ "attributes": {}, "adrDeviceProperties": null, "deviceResourceId": null }),
    ] {
        let mut read = read;
        for (name, value) in classic_device().as_object().expect("members") {
            read[name] = value.clone();
        }
        let platform = platform();
        platform.then_status(200, &[], &read.to_string()).then_status(200, &[], "{}");
        done(invoke(&platform, "update-device", json!({ "deviceId": "d1", "status": "disabled" })));
        let mut expected = classic_device();
        expected["status"] = json!("disabled");
        assert_eq!(
            requests(&platform),
            [
                sent(&format!("GET hub/devices/d1?{NEWEST_HUB}"), &[], None),
                sent(&format!("PUT hub/devices/d1?{HUB}"), &[("if-match", "\"MQ==\"")], Some(expected)),
            ]
        );
    }
}

#[test]
fn an_older_hub_is_asked_at_the_version_that_it_speaks() {
    // API version 2024-03-31 knows attributes.
    let platform = platform();
    refuse_hub_version(&platform);
    let read = without(linked_device(), &OWNED);
    platform.then_status(200, &[], &read.to_string()).then_status(
        412,
        &[],
        r#"{"Message":"ErrorCode:PreconditionFailed;changed"}"#,
    );
    platform.then_status(200, &[], &read.to_string()).then_status(200, &[], "{}");
    done(invoke(&platform, "update-device", json!({ "deviceId": "d1", "status": "disabled" })));
    let at = |method: &str, version: &str| format!("{method} hub/devices/d1?api-version={version}");
    assert_eq!(
        lines(&platform),
        [
            at("GET", "2026-11-01-preview"),
            at("GET", "2024-03-31"),
            at("PUT", "2024-03-31"),
            at("GET", "2024-03-31"),
            at("PUT", "2024-03-31"),
        ],
        "a version that was refused is not asked for again in the same call"
    );

    // Even at the oldest API version, members that a registry owns are not written back, and the other members are
    // kept.
    let platform = super::platform();
    refuse_hub_version(&platform);
    refuse_hub_version(&platform);
    platform.then_status(200, &[], &linked_device().to_string()).then_status(200, &[], "{}");
    done(invoke(&platform, "update-device", json!({ "deviceId": "d1", "status": "enabled" })));
    let sent = requests(&platform);
    assert_eq!(sent.len(), 4);
    assert_eq!(sent[3].line, at("PUT", "2021-04-12"));
    assert_eq!(sent[3].body, Some(without(linked_device(), &OWNED)));

    // The hub offers none of the API versions.
    let platform = super::platform();
    (0..3).for_each(|_| refuse_hub_version(&platform));
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d1", "status": "enabled" })));
    assert_eq!(error.code(), ErrorCode::Unsupported, "{error}");
    assert!(error.record().message.contains("2021-04-12"), "{error}");
    assert_eq!(requests(&platform).len(), 3);
}

#[test]
fn a_write_never_falls_back_to_an_older_version() {
    let platform = platform();
    platform.then_status(200, &[], &linked_device().to_string());
    refuse_hub_version(&platform);
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d1", "status": "disabled" })));
    assert_eq!(error.code(), ErrorCode::Unsupported);
    assert_eq!(requests(&platform).len(), 2);

    let platform = super::platform();
    let read = json!({ "registrationId": "a", "etag": "1", "attestation": { "type": "tpm", "tpm": { "endorsementKey": "AAAA" } }, "namespaceName": "plant" });
    platform.then_status(200, &[], &read.to_string());
    refuse_dps_version(&platform);
    let error = fails(invoke(&platform, ENROLL, json!({ "registrationId": "a", "edge": true })));
    assert_eq!(error.code(), ErrorCode::Unsupported);
    assert_eq!(requests(&platform).len(), 2);
}

fn certificates() -> Value {
    json!({ "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived" })
}

fn enrollment(members: Value) -> Value {
    let mut enrollment = json!({
        "registrationId": "a",
        "etag": "\"1\"",
        "attestation": { "type": "tpm", "tpm": { "endorsementKey": "AAAA" } },
    });
    enrollment.as_object_mut().expect("an object").extend(members.as_object().expect("members").clone());
    enrollment
}

fn input(members: Value) -> Value {
    let mut input = json!({ "registrationId": "a" });
    input.as_object_mut().expect("an object").extend(members.as_object().expect("members").clone());
    input
}

#[test]
fn certificates_of_an_enrollment_survive_a_change_that_does_not_name_them() {
    for change in [json!({ "provisioningStatus": "disabled" }), json!({ "deviceId": "other" })] {
        let platform = platform();
        platform.then_status(200, &[], &enrollment(certificates()).to_string()).then_status(200, &[], "{}");
        done(invoke(&platform, ENROLL, input(change.clone())));
        let mut expected = without(enrollment(certificates()), &["etag"]);
        expected.as_object_mut().expect("an object").extend(change.as_object().expect("members").clone());
        assert_eq!(
            requests(&platform),
            [
                sent(&format!("GET dps/enrollments/a?{NEWEST_DPS}"), &[], None),
                sent(&format!("PUT dps/enrollments/a?{NEWEST_DPS}"), &[("if-match", "\"1\"")], Some(expected)),
            ]
        );
    }
}

#[test]
fn certificates_are_set_where_the_service_knows_them() {
    // One of the three members is changed in an existing enrollment.
    let platform = platform();
    platform.then_status(200, &[], &enrollment(certificates()).to_string());
    platform.then_status(200, &[], &enrollment(certificates()).to_string());
    let output = done(invoke(&platform, ENROLL, input(json!({ "certificatePolicyName": "long-lived" }))));
    assert_eq!(output["namespaceName"], "plant", "the output shows them");
    let body = requests(&platform)[1].body.clone().expect("a body");
    assert_eq!(
        (&body["certificatePolicyName"], &body["certificateAuthorityName"]),
        (&json!("long-lived"), &json!("Factory-CA"))
    );

    // All three members are set in a new enrollment, with and without reading first.
    let new = json!({ "attestation": { "type": "tpm", "tpm": { "endorsementKey": "AAAA" } } });
    for mode in ["create", "createOrUpdate"] {
        let platform = super::platform();
        if mode == "createOrUpdate" {
            dps_refusal(&platform, 404_201);
        }
        platform.then_status(200, &[], "{}");
        let mut members = certificates();
        members["mode"] = json!(mode);
        members["attestation"] = new["attestation"].clone();
        done(invoke(&platform, ENROLL, input(members)));
        let last = requests(&platform).pop().expect("a request");
        assert_eq!(last.line, format!("PUT dps/enrollments/a?{NEWEST_DPS}"));
        assert_eq!(last.body, Some(without(enrollment(certificates()), &["etag"])));
    }
}

#[test]
fn an_older_service_goes_on_as_ever() {
    let platform = platform();
    refuse_dps_version(&platform);
    platform.then_status(200, &[], &enrollment(json!({})).to_string());
    dps_refusal(&platform, 412_000);
    platform.then_status(200, &[], &enrollment(json!({})).to_string()).then_status(200, &[], "{}");
    done(invoke(&platform, ENROLL, input(json!({ "deviceId": "other" }))));
    let at = |method: &str, version: &str| format!("{method} dps/enrollments/a?{version}");
    assert_eq!(
        lines(&platform),
        [at("GET", NEWEST_DPS), at("GET", DPS), at("PUT", DPS), at("GET", DPS), at("PUT", DPS)]
    );

    // The refusal of an API version must not be mistaken for the answer that the enrollment does not exist.
    let platform = super::platform();
    refuse_dps_version(&platform);
    dps_refusal(&platform, 404_201);
    platform.then_status(200, &[], "{}");
    let new = json!({ "attestation": { "type": "tpm", "tpm": { "endorsementKey": "AAAA" } } });
    done(invoke(&platform, ENROLL, input(new)));
    assert_eq!(lines(&platform), [at("GET", NEWEST_DPS), at("GET", DPS), at("PUT", DPS)]);

    for action in ["get-individual-enrollment", "query-individual-enrollments"] {
        let platform = super::platform();
        refuse_dps_version(&platform);
        platform.then_status(200, &[], if action.starts_with("get") { "{}" } else { "[]" });
        let asked = if action.starts_with("get") { input(json!({})) } else { json!({}) };
        done(invoke(&platform, action, asked));
        assert_eq!(requests(&platform).len(), 2, "{action}");
        assert!(requests(&platform)[1].line.ends_with(DPS));
    }
}

#[test]
fn an_older_service_is_not_given_what_it_would_drop() {
    for (members, pointers) in [
        (certificates(), vec!["/namespaceName", "/certificateAuthorityName", "/certificatePolicyName"]),
        (json!({ "certificatePolicyName": "long-lived" }), vec!["/certificatePolicyName"]),
    ] {
        for mode in ["create", "update", "createOrUpdate"] {
            let platform = platform();
            refuse_dps_version(&platform);
            if mode != "create" {
                platform.then_status(200, &[], &enrollment(json!({})).to_string());
            }
            let mut members = members.clone();
            members["mode"] = json!(mode);
            members["attestation"] = json!({ "type": "tpm", "tpm": { "endorsementKey": "AAAA" } });
            let error = fails(invoke(&platform, ENROLL, input(members.clone())));
            assert_eq!(error.code(), ErrorCode::Unsupported, "{mode}: {error}");
            let record = error.record();
            let named: Vec<&str> = record.fields.iter().map(|field| field.pointer.as_str()).collect();
            assert_eq!(named, pointers, "{mode}");
            assert!(record.fields.iter().all(|field| field.code == "not-offered" && field.fix.is_some()));
            assert_eq!(record.effect, crate::error::EffectState::None);
            let written =
                requests(&platform).iter().filter(|sent| sent.line.contains(DPS) && sent.body.is_some()).count();
            assert_eq!(written, 0, "{mode}: nothing is written at a version that would drop them");
            // A dry run finds out by reading, and reports the same error.
            let platform = super::platform();
            refuse_dps_version(&platform);
            platform.then_status(200, &[], &enrollment(json!({})).to_string());
            let dry = super::super::invoke(&platform, &connection(), ENROLL, &input(members).to_string(), &call(true));
            assert_eq!(fails(dry).code(), ErrorCode::Unsupported, "{mode}");
            assert!(requests(&platform).iter().all(|sent| sent.line.starts_with("GET")), "{mode}");
        }
    }
}

#[test]
fn names_that_the_description_forbids_are_refused_before_asking() {
    for (name, value) in [
        ("namespaceName", "Plant"),
        ("namespaceName", "-plant"),
        ("namespaceName", "plant-"),
        ("namespaceName", "pl"),
        ("certificateAuthorityName", "-ca"),
        ("certificateAuthorityName", "a_b"),
        ("certificatePolicyName", ""),
    ] {
        let platform = platform();
        let found = problems(&platform, ENROLL, input(json!({ name: value })));
        assert!(found.iter().all(|(pointer, _)| *pointer == format!("/{name}")), "{name} {value}: {found:?}");
    }
    for (name, value) in [
        ("namespaceName", "a".repeat(65)),
        ("certificateAuthorityName", "a".repeat(64)),
        ("certificatePolicyName", "a".repeat(64)),
    ] {
        problems(&platform(), ENROLL, input(json!({ name: value })));
    }
    for (name, value) in [
        ("namespaceName", "a".repeat(64)),
        ("certificateAuthorityName", "A-".repeat(31)),
        ("certificatePolicyName", "0a-".to_owned()),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &enrollment(json!({})).to_string()).then_status(200, &[], "{}");
        done(invoke(&platform, ENROLL, input(json!({ name: value }))));
    }
}
