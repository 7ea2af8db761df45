//! Tests of the actions on enrollments and registrations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

const ACTION: &str = "create-or-update-individual-enrollment";

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn enrollment(attestation: Value) -> Value {
    json!({
        "registrationId": "Press-17",
        "deviceId": "press-17",
        "etag": "\"1\"",
        "attestation": attestation,
        "provisioningStatus": "enabled",
        "allocationPolicy": "hashed",
        "iotHubHostName": "old.azure-devices.net",
        "reprovisionPolicy": { "updateHubAssignment": false, "migrateDeviceData": true },
        "initialTwin": { "tags": { "a": 1 }, "properties": { "desired": { "b": 2 } } },
        "registrationState": { "registrationId": "Press-17", "status": "assigned" },
        "createdDateTimeUtc": "2026-01-01T00:00:00Z",
        "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00Z",
        "unheardOf": { "kept": true },
    })
}

/// The members of [`enrollment`] that are written back, with changes.
fn written(attestation: Value, changes: &[(&str, Value)]) -> Value {
    let mut body = enrollment(attestation);
    let members = body.as_object_mut().expect("an object");
    for name in ["etag", "registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"] {
        members.remove(name);
    }
    for (name, value) in changes {
        if value.is_null() {
            members.remove(*name);
        } else {
            members.insert((*name).to_owned(), value.clone());
        }
    }
    body
}

fn tpm() -> Value {
    json!({ "type": "tpm", "tpm": { "endorsementKey": "AAAA" } })
}

const GET: &str = "GET dps/enrollments/press-17?api-version=2026-11-01";
const PUT: &str = "PUT dps/enrollments/press-17?api-version=2026-11-01";
const KEYS: &str = "POST dps/enrollments/press-17/attestationmechanism?api-version=2021-10-01";

#[test]
fn a_new_enrollment_is_created_without_a_condition() {
    let platform = platform();
    dps_refusal(&platform, 404_201);
    let answer = json!({ "registrationId": "press-17", "etag": "\"1\"", "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1) } } });
    platform.then_status(200, &[], &answer.to_string());
    let input = json!({
        "registrationId": "press-17",
        "attestation": { "type": "symmetricKey" },
        "deviceId": "d 1".replace(' ', "-"),
        "provisioningStatus": "disabled",
        "edge": true,
        "reprovisionPolicy": { "migrateDeviceData": false },
        "initialTwin": { "tags": { "site": "north" }, "desired": { "interval": 30 } },
        "optionalDeviceInformation": { "serial": "42" },
        "iotHubs": ["a.azure-devices.net", "b.azure-devices.net"],
        "allocationPolicy": "geoLatency",
    });
    let output = done(invoke(&platform, ACTION, input));
    assert_eq!(output["attestation"], json!({ "type": "symmetricKey" }), "keys are left out");
    let body = json!({
        "registrationId": "press-17",
        "attestation": { "type": "symmetricKey", "symmetricKey": {} },
        "deviceId": "d-1",
        "provisioningStatus": "disabled",
        "capabilities": { "iotEdge": true },
        "reprovisionPolicy": { "updateHubAssignment": true, "migrateDeviceData": false },
        "initialTwin": { "tags": { "site": "north" }, "properties": { "desired": { "interval": 30 } } },
        "optionalDeviceInformation": { "serial": "42" },
        "iotHubs": ["a.azure-devices.net", "b.azure-devices.net"],
        "allocationPolicy": "geoLatency",
    });
    assert_eq!(requests(&platform), [sent(GET, &[], None), sent(PUT, &[], Some(body))]);
}

#[test]
fn creating_only_does_not_read_first_and_does_not_try_again() {
    let platform = platform();
    dps_refusal(&platform, 409_201);
    let input = json!({ "registrationId": "press-17", "mode": "create", "attestation": { "type": "tpm", "tpm": { "endorsementKey": "AAAA" } } });
    assert_eq!(fails(invoke(&platform, ACTION, input)).code(), ErrorCode::Conflict);
    let body = json!({ "registrationId": "press-17", "attestation": tpm() });
    let line = format!("PUT dps/enrollments/press-17?{DPS}");
    assert_eq!(requests(&platform), [sent(&line, &[], Some(body))], "a new one has nothing to lose");
}

#[test]
fn what_an_update_does_not_name_stays() {
    let host = json!(["new.azure-devices.net"]);
    let table = [
        (json!({ "provisioningStatus": "disabled" }), vec![("provisioningStatus", json!("disabled"))]),
        (json!({ "deviceId": "other" }), vec![("deviceId", json!("other"))]),
        (json!({ "edge": true }), vec![("capabilities", json!({ "iotEdge": true }))]),
        (
            json!({ "initialTwin": { "desired": { "c": 3 } } }),
            vec![("initialTwin", json!({ "tags": { "a": 1 }, "properties": { "desired": { "c": 3 } } }))],
        ),
        (
            json!({ "reprovisionPolicy": { "migrateDeviceData": false } }),
            vec![("reprovisionPolicy", json!({ "updateHubAssignment": false, "migrateDeviceData": false }))],
        ),
        (
            json!({ "iotHubHostName": "new.azure-devices.net" }),
            vec![("allocationPolicy", json!("static")), ("iotHubs", host.clone()), ("iotHubHostName", json!(null))],
        ),
        (json!({ "iotHubs": ["new.azure-devices.net"] }), vec![("iotHubs", host), ("iotHubHostName", json!(null))]),
        (
            json!({ "allocationPolicy": "custom", "customAllocationDefinition": { "webhookUrl": "https://f.example/?code=x", "apiVersion": "1" } }),
            vec![
                ("allocationPolicy", json!("custom")),
                ("customAllocationDefinition", json!({ "webhookUrl": "https://f.example/?code=x", "apiVersion": "1" })),
            ],
        ),
    ];
    for (mut input, changes) in table {
        let platform = platform();
        platform.then_status(200, &[], &enrollment(tpm()).to_string()).then_status(200, &[], "{}");
        input["registrationId"] = json!("press-17");
        done(invoke(&platform, ACTION, input));
        let expected = written(tpm(), &changes);
        assert_eq!(requests(&platform), [sent(GET, &[], None), sent(PUT, &[("if-match", "\"1\"")], Some(expected))]);
    }
}

#[test]
fn symmetric_keys_survive_an_update() {
    let bare = json!({ "type": "symmetricKey", "symmetricKey": {} });
    let full = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } });
    let one = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(9) } });
    for (input, expected) in [
        (json!({ "edge": false }), &full),
        (json!({ "edge": false, "attestation": { "type": "symmetricKey" } }), &full),
        (
            json!({ "edge": false, "attestation": { "type": "symmetricKey", "symmetricKey": { "secondaryKey": key(9) } } }),
            &one,
        ),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &enrollment(bare.clone()).to_string());
        platform.then_status(200, &[], &full.to_string()).then_status(200, &[], "{}");
        let mut input = input;
        input["registrationId"] = json!("press-17");
        done(invoke(&platform, ACTION, input));
        let sent = requests(&platform);
        assert_eq!([sent[0].line.as_str(), &sent[1].line, &sent[2].line], [GET, KEYS, PUT]);
        assert_eq!(&sent[2].body.as_ref().expect("a body")["attestation"], expected);
    }

    // If the input has both keys or another kind of attestation, the old keys are not read.
    for (input, expected) in [
        (json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } }), &full),
        (json!({ "type": "tpm", "tpm": { "endorsementKey": "AAAA" } }), &tpm()),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &enrollment(bare.clone()).to_string()).then_status(200, &[], "{}");
        done(invoke(&platform, ACTION, json!({ "registrationId": "press-17", "attestation": input })));
        let sent = requests(&platform);
        assert_eq!([sent[0].line.as_str(), &sent[1].line], [GET, PUT]);
        assert_eq!(&sent[1].body.as_ref().expect("a body")["attestation"], expected);
    }
}

#[test]
fn races_are_run_again() {
    // First somebody else creates the enrollment, then somebody else changes it. The third attempt succeeds.
    let platform = platform();
    dps_refusal(&platform, 404_201);
    dps_refusal(&platform, 409_201);
    platform.then_status(200, &[], &enrollment(tpm()).to_string());
    dps_refusal(&platform, 412_000);
    platform.then_status(200, &[], &enrollment(tpm()).to_string()).then_status(200, &[], "{}");
    let input =
        json!({ "registrationId": "press-17", "attestation": { "type": "tpm", "tpm": { "endorsementKey": "BBBB" } } });
    done(invoke(&platform, ACTION, input.clone()));
    let lines: Vec<String> = requests(&platform).into_iter().map(|sent| sent.line).collect();
    assert_eq!(lines, [GET, PUT, GET, PUT, GET, PUT]);

    let platform = super::platform();
    for _ in 0..3 {
        platform.then_status(200, &[], &enrollment(tpm()).to_string());
        dps_refusal(&platform, 412_000);
    }
    assert_eq!(fails(invoke(&platform, ACTION, input)).code(), ErrorCode::PreconditionFailed);
    assert_eq!(requests(&platform).len(), 6);
}

#[test]
fn an_etag_or_the_mode_update_means_something_that_exists() {
    for input in [
        json!({ "registrationId": "press-17", "mode": "update", "edge": true }),
        json!({ "registrationId": "press-17", "edge": true, "etag": "1" }),
    ] {
        let platform = platform();
        dps_refusal(&platform, 404_201);
        assert_eq!(fails(invoke(&platform, ACTION, input)).code(), ErrorCode::NotFound);
    }
    let platform = platform();
    platform.then_status(200, &[], &enrollment(tpm()).to_string());
    dps_refusal(&platform, 412_000);
    let input = json!({ "registrationId": "press-17", "edge": true, "etag": "\"0\"" });
    assert_eq!(fails(invoke(&platform, ACTION, input)).code(), ErrorCode::PreconditionFailed);
    assert_eq!(requests(&platform)[1].headers, [("if-match".to_owned(), "\"0\"".to_owned())]);
}

#[test]
fn an_enrollment_that_is_to_be_made_needs_an_attestation() {
    let platform = platform();
    dps_refusal(&platform, 404_201);
    let error = fails(invoke(&platform, ACTION, json!({ "registrationId": "press-17", "edge": true })));
    assert_eq!((error.code(), error.record().fields[0].pointer.as_str()), (ErrorCode::InvalidInput, "/attestation"));
    platform.then_status(200, &[], &enrollment(tpm()).to_string());
    let error = fails(invoke(&platform, ACTION, json!({ "registrationId": "press-17", "allocationPolicy": "custom" })));
    assert_eq!(error.record().fields[0].pointer, "/customAllocationDefinition");
}

#[test]
fn certificates_and_references() {
    let der = STANDARD.encode([0x30, 3, 1, 2, 3]);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    let certificate = json!({ "certificate": der });
    for (input, expected) in [
        (
            json!({ "primaryCertificate": pem, "secondaryCertificate": der }),
            json!({ "clientCertificates": { "primary": certificate, "secondary": certificate } }),
        ),
        (
            json!({ "primaryCaReference": "root", "secondaryCaReference": "next" }),
            json!({ "caReferences": { "primary": "root", "secondary": "next" } }),
        ),
    ] {
        let platform = platform();
        platform.then_status(200, &[], "{}");
        let input =
            json!({ "registrationId": "press-17", "mode": "create", "attestation": { "type": "x509", "x509": input } });
        done(invoke(&platform, ACTION, input));
        let body = requests(&platform)[0].body.clone().expect("a body");
        assert_eq!(body["attestation"], json!({ "type": "x509", "x509": expected }));
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_is_sent() {
    let x509 = |input: Value| json!({ "attestation": { "type": "x509", "x509": input } });
    let table: Vec<(Value, Vec<(&str, &str)>)> = vec![
        (json!({}), vec![("", "nothing-to-change")]),
        (json!({ "mode": "create" }), vec![("/attestation", "missing")]),
        (
            json!({ "mode": "create", "attestation": { "type": "symmetricKey" }, "etag": "1" }),
            vec![("/etag", "not-allowed")],
        ),
        (json!({ "attestation": { "type": "tpm" } }), vec![("/attestation/tpm", "missing")]),
        (
            json!({ "attestation": { "type": "symmetricKey", "tpm": { "endorsementKey": "AAAA" } } }),
            vec![("/attestation/tpm", "not-allowed")],
        ),
        (
            json!({ "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": "AAAA" } } }),
            vec![("/attestation/symmetricKey/primaryKey", "not-a-key")],
        ),
        (x509(json!({})), vec![("/attestation/x509/primaryCertificate", "missing")]),
        (x509(json!({ "secondaryCaReference": "x" })), vec![("/attestation/x509/primaryCaReference", "missing")]),
        (
            x509(json!({ "primaryCertificate": "-----BEGIN PRIVATE KEY-----" })),
            vec![("/attestation/x509/primaryCertificate", "not-a-certificate")],
        ),
        (
            x509(json!({ "primaryCertificate": "MAMBAgM=", "primaryCaReference": "x" })),
            vec![("/attestation/x509/primaryCertificate", "not-allowed")],
        ),
        (
            json!({ "iotHubHostName": "a.example", "iotHubs": ["b.example"], "allocationPolicy": "hashed" }),
            vec![("/iotHubHostName", "not-allowed"), ("/iotHubHostName", "not-allowed")],
        ),
        (
            json!({ "initialTwin": { "tags": { "a.b": 1 }, "desired": { "c d": 1 } } }),
            vec![("/initialTwin/tags/a.b", "characters"), ("/initialTwin/desired/c d", "characters")],
        ),
    ];
    for (mut input, expected) in table {
        input["registrationId"] = json!("press-17");
        assert_eq!(problems(&platform(), ACTION, input.clone()), pairs(&expected), "{input}");
    }
    let error = fails(invoke(
        &platform(),
        ACTION,
        json!({ "registrationId": "press-17", "attestation": { "type": "x509", "x509": { "primaryCertificate": "SECRETSECRET" } } }),
    ));
    assert!(!format!("{error:?}").contains("SECRETSECRET"), "values are not repeated");
}

#[test]
fn a_plan_has_neither_keys_nor_the_functions_code() {
    let platform = platform();
    let bare = json!({ "type": "symmetricKey", "symmetricKey": {} });
    let full = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } });
    platform.then_status(200, &[], &enrollment(bare).to_string()).then_status(200, &[], &full.to_string());
    let input = json!({
        "registrationId": "press-17",
        "allocationPolicy": "custom",
        "customAllocationDefinition": { "webhookUrl": "https://f.example/?code=hidden", "apiVersion": "1" },
    });
    let plan = dry_run(&platform, ACTION, input);
    assert_eq!(plan["method"], "PUT");
    assert_eq!(plan["body"]["unheardOf"], json!({ "kept": true }));
    let text = plan.to_string();
    assert!(!text.contains(&key(1)) && !text.contains("hidden"), "{text}");
    assert_eq!(requests(&platform).len(), 2, "only read");
}

#[test]
fn keys_are_answered_to_those_who_ask() {
    let bare = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": "leaked" } });
    let full = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } });
    let platform = platform();
    platform.then_status(200, &[], &enrollment(bare.clone()).to_string());
    let output = done(invoke(&platform, "get-individual-enrollment", json!({ "registrationId": "press-17" })));
    assert_eq!(output["attestation"], json!({ "type": "symmetricKey" }));
    platform.then_status(200, &[], &enrollment(bare).to_string()).then_status(200, &[], &full.to_string());
    let input = json!({ "registrationId": "press-17", "includeKeys": true });
    assert_eq!(done(invoke(&platform, "get-individual-enrollment", input.clone()))["attestation"], full);
    platform.then_status(200, &[], &enrollment(tpm()).to_string());
    assert_eq!(done(invoke(&platform, "get-individual-enrollment", input))["attestation"], tpm());
    let lines: Vec<String> = requests(&platform).into_iter().map(|sent| sent.line).collect();
    assert_eq!(lines, [GET, GET, KEYS, GET]);

    let platform = super::platform();
    platform.then_status(200, &[], &enrollment(full.clone()).to_string()).then_status(200, &[], &full.to_string());
    let input = json!({ "registrationId": "press-17", "mode": "create", "attestation": { "type": "symmetricKey" }, "includeKeys": true });
    assert_eq!(done(invoke(&platform, ACTION, input))["attestation"], full);
}

#[test]
fn deleting_enrollments_and_registrations() {
    for (action, collection) in
        [("delete-individual-enrollment", "enrollments"), ("delete-registration-state", "registrations")]
    {
        let platform = platform();
        platform.then_status(204, &[], "");
        let output = done(invoke(&platform, action, json!({ "registrationId": "a:b", "etag": "\"1\"" })));
        assert_eq!(output, json!({ "registrationId": "a:b", "deleted": true }));
        dps_refusal(&platform, 404_201);
        assert_eq!(fails(invoke(&platform, action, json!({ "registrationId": "a:b" }))).code(), ErrorCode::NotFound);
        dps_refusal(&platform, 404_201);
        let output = done(invoke(&platform, action, json!({ "registrationId": "a:b", "ifMissing": "ignore" })));
        assert_eq!(output, json!({ "registrationId": "a:b", "deleted": false }));
        let line = format!("DELETE dps/{collection}/a%3Ab?{DPS}");
        assert_eq!(
            requests(&platform),
            [
                sent(&line, &[("if-match", "\"1\"")], None),
                sent(&line, &[("if-match", "\"*\"")], None),
                sent(&line, &[("if-match", "\"*\"")], None),
            ]
        );
        let plan = dry_run(&platform, action, json!({ "registrationId": "a:b" }));
        assert_eq!(plan["method"], "DELETE");
    }
}

/// Microsoft's documents disagree about an id's first and last character, so the id is sent and the service decides.
#[test]
fn an_id_that_one_document_allows_goes_out() {
    for id in ["press-", "-press", ":press", ".press"] {
        for (action, field, line, version) in [
            ("get-individual-enrollment", "registrationId", "GET dps/enrollments/ID?", NEWEST_DPS),
            ("get-registration-state", "registrationId", "GET dps/registrations/ID?", DPS),
            ("delete-individual-enrollment", "registrationId", "DELETE dps/enrollments/ID?", DPS),
            ("delete-registration-state", "registrationId", "DELETE dps/registrations/ID?", DPS),
            ("query-registration-states", "enrollmentGroupId", "POST dps/registrations/ID/query?", DPS),
        ] {
            let platform = platform();
            dps_refusal(&platform, 400_004);
            let error = fails(invoke(&platform, action, json!({ field: id })));
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{action} {id}");
            let line = format!("{}{version}", line.replace("ID", &id.replace(':', "%3A")));
            assert_eq!(requests(&platform)[0].line, line);
        }
    }
}

#[test]
fn a_registration_is_passed_on_as_it_is() {
    let platform = platform();
    let state = json!({ "registrationId": "a", "status": "assigned", "payload": { "x": 1 } });
    platform.then_status(200, &[], &state.to_string());
    assert_eq!(done(invoke(&platform, "get-registration-state", json!({ "registrationId": "a" }))), state);
    assert_eq!(requests(&platform), [sent(&format!("GET dps/registrations/a?{DPS}"), &[], None)]);
    assert_eq!(
        problems(&super::platform(), "get-registration-state", json!({ "registrationId": "a." })),
        pairs(&[("/registrationId", "characters")])
    );
}

const URL: &str = "https://me:pass@f.example/api/choose?code=c2VjcmV0&slot=east1#frag1";
const SHOWN: &str = "https://(secret)@f.example/api/choose?code=(secret)&slot=(secret)#(secret)";

fn custom() -> Value {
    let mut enrollment = enrollment(tpm());
    enrollment["allocationPolicy"] = "custom".into();
    enrollment["customAllocationDefinition"] = json!({ "webhookUrl": URL, "apiVersion": "1" });
    enrollment
}

/// These actions once returned the function's key in clear text, although the input schema marks it as write-only.
#[test]
fn a_functions_key_is_never_answered() {
    let clean = |text: String| {
        for secret in ["c2VjcmV0", "me:pass", "east1", "frag1"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains(SHOWN), "{text}");
    };
    for include_keys in [false, true] {
        let platform = platform();
        platform.then_status(200, &[], &custom().to_string());
        let input = json!({ "registrationId": "press-17", "includeKeys": include_keys });
        clean(done(invoke(&platform, "get-individual-enrollment", input)).to_string());
    }
    let platform = platform();
    platform.then_status(200, &[], &json!([custom()]).to_string());
    clean(done(invoke(&platform, "query-individual-enrollments", json!({}))).to_string());
    platform.then_status(200, &[], &custom().to_string()).then_status(200, &[], &custom().to_string());
    let input = json!({ "registrationId": "press-17", "provisioningStatus": "disabled" });
    clean(done(invoke(&platform, ACTION, input.clone())).to_string());
    let written = &requests(&platform)[2];
    assert_eq!(written.body.as_ref().expect("a body")["customAllocationDefinition"]["webhookUrl"], URL, "and is kept");
    platform.then_status(200, &[], &custom().to_string());
    clean(dry_run(&platform, ACTION, input).to_string());
}

#[test]
fn what_was_read_can_be_written_back() {
    let platform = platform();
    let definition = json!({ "webhookUrl": SHOWN, "apiVersion": "2" });
    let input = |mode: &str| json!({ "registrationId": "press-17", "mode": mode, "attestation": tpm(), "customAllocationDefinition": definition });
    platform.then_status(200, &[], &custom().to_string()).then_status(200, &[], &custom().to_string());
    done(invoke(&platform, ACTION, input("update")));
    let written = requests(&platform)[1].body.clone().expect("a body");
    assert_eq!(written["customAllocationDefinition"], json!({ "webhookUrl": URL, "apiVersion": "2" }));
    // If the stored URL is another one or missing, the key that `(secret)` stands for is unknown.
    let mut other = custom();
    other["customAllocationDefinition"]["webhookUrl"] = "https://other.example/?code=1".into();
    for (mode, old) in [("create", None), ("update", Some(other)), ("update", Some(enrollment(tpm())))] {
        let platform = super::platform();
        if let Some(old) = old {
            platform.then_status(200, &[], &old.to_string());
        }
        let error = fails(invoke(&platform, ACTION, input(mode)));
        let found = &error.record().fields[0];
        assert_eq!((found.pointer.as_str(), found.code.as_str()), ("/customAllocationDefinition/webhookUrl", "hidden"));
        assert!(requests(&platform).iter().all(|sent| !sent.line.starts_with("PUT")), "nothing is written");
    }
}

#[test]
fn a_refusal_that_repeats_what_was_sent_holds_no_secret() {
    let platform = platform();
    let full = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } });
    let message = format!("cannot use {URL} nor {} as {}", key(1), key(2));
    let body = json!({ "errorCode": 400_004, "trackingId": "t", "message": message, "timestampUtc": "x" });
    platform.then_status(400, &[], &body.to_string());
    let input = json!({
        "registrationId": "press-17", "mode": "create", "attestation": full, "allocationPolicy": "custom",
        "customAllocationDefinition": { "webhookUrl": URL, "apiVersion": "1" },
    });
    let error = format!("{:?}", fails(invoke(&platform, ACTION, input)).record());
    for secret in ["c2VjcmV0", "me:pass", &key(1), &key(2)] {
        assert!(!error.contains(secret), "{error}");
    }
    assert!(error.contains("cannot use https://(secret)@f.example"), "{error}");
}

#[test]
fn what_no_service_could_take_is_named_in_a_dry_run_too() {
    let input = json!({
        "registrationId": "press-17",
        "attestation": { "type": "tpm", "tpm": { "endorsementKey": "no key" } },
        "initialTwin": { "tags": { "a": [null] }, "desired": { "b": [{ "c": [1, null] }] } },
    });
    let expected = pairs(&[
        ("/attestation/tpm/endorsementKey", "not-a-key"),
        ("/initialTwin/tags/a/0", "null-in-array"),
        ("/initialTwin/desired/b/0/c/1", "null-in-array"),
    ]);
    assert_eq!(problems(&platform(), ACTION, input.clone()), expected);
    let platform = platform();
    let error = fails(crate::actions::invoke(&platform, &connection(), ACTION, &input.to_string(), &call(true)));
    let found: Vec<(String, String)> =
        error.record().fields.iter().map(|problem| (problem.pointer.clone(), problem.code.clone())).collect();
    assert_eq!((found, requests(&platform).len()), (expected, 0));
}

#[test]
fn an_enrollment_keeps_the_digits_of_its_numbers() {
    let twin = r#"{"n":[9007199254740993.50,1e-400]}"#;
    let platform = platform();
    let output =
        format!(r#"{{"attestation":{{"type":"tpm"}},"initialTwin":{{"tags":{twin}}},"registrationId":"press-17"}}"#);
    platform.then_status(200, &[], &output);
    let input = format!(
        r#"{{"registrationId":"press-17","mode":"create","attestation":{{"type":"tpm","tpm":{{"endorsementKey":"AAAA"}}}},"initialTwin":{{"tags":{twin},"desired":{twin}}},"optionalDeviceInformation":{twin}}}"#
    );
    match crate::actions::invoke(&platform, &connection(), ACTION, &input, &call(false)) {
        Ok(Outcome::Done(answer)) => assert_eq!(answer, output),
        other => panic!("not done: {other:?}"),
    }
    let sent = String::from_utf8(platform.requests.borrow()[0].body.clone().expect("a body")).expect("text");
    assert!(sent.contains(&format!(r#""initialTwin":{{"properties":{{"desired":{twin}}},"tags":{twin}}}"#)), "{sent}");
    assert!(sent.contains(&format!(r#""optionalDeviceInformation":{twin}"#)), "{sent}");
}
