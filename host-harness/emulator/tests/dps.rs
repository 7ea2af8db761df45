//! The provisioning service over the wire, and devices that register.

mod common;

use azure_iot_emulator::{ChangeKind, Credential, Emulator};
use common::{Client, dps, hub, start, token};
use serde_json::{Value, json};

const KEYS: &str = "attestationmechanism";

fn symmetric(id: &str) -> Value {
    json!({"registrationId": id, "attestation": {"type": "symmetricKey"}})
}

fn group(id: &str) -> Value {
    json!({"enrollmentGroupId": id, "attestation": {"type": "symmetricKey"}})
}

async fn key(client: &Client, path: &str) -> String {
    let answer = client.call("POST", &format!("{path}/{KEYS}"), &[], None).await.expect(200);
    answer.body["symmetricKey"]["primaryKey"].as_str().expect("key").to_owned()
}

fn certificate(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key).expect("certificate");
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(certificate.der());
    (certificate.pem(), digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[tokio::test]
async fn an_enrollment_lives_and_dies() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    let made = client.put("/enrollments/Dev-1", symmetric("Dev-1")).await.expect(200);
    let etag = made.body["etag"].as_str().expect("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    assert_eq!(made.header("etag"), Some(etag.as_str()));
    assert_eq!(made.body["provisioningStatus"], "enabled");
    assert_eq!(made.body["allocationPolicy"], "hashed");
    assert_eq!(made.body["reprovisionPolicy"], json!({"updateHubAssignment": true, "migrateDeviceData": true}));
    assert_eq!(made.body["registrationState"]["status"], "unassigned");
    assert_eq!(made.body["attestation"], json!({"type": "symmetricKey", "symmetricKey": {}}));
    let first = key(&client, "/enrollments/dev-1").await;

    let conflict = client.put("/enrollments/DEV-1", symmetric("DEV-1")).await.expect(409);
    assert_eq!(conflict.body["errorCode"], 409_201);
    assert_eq!(conflict.header("x-ms-error-code"), Some("EnrollmentConflict"));
    let mut body = made.body.clone();
    body["provisioningStatus"] = json!("disabled");
    client.put_if("/enrollments/dev-1", "\"wrong\"", body.clone()).await.expect(412);
    let updated = client.put_if("/enrollments/dev-1", &etag, body.clone()).await.expect(200);
    assert_ne!(updated.body["etag"], json!(etag));
    assert_eq!(updated.body["createdDateTimeUtc"], made.body["createdDateTimeUtc"]);
    assert_eq!(key(&client, "/enrollments/dev-1").await, first, "writing back what was read keeps the key");
    client.put_if("/enrollments/none", "*", symmetric("none")).await.expect(404);

    client.call("DELETE", "/enrollments/dev-1", &[("if-match", &etag)], None).await.expect(412);
    client.delete("/enrollments/dev-1").await.expect(204);
    let missing = client.get("/enrollments/dev-1").await.expect(404);
    assert_eq!(missing.body["errorCode"], 404_201);
    let kinds: Vec<_> = emulator.journal().snapshot(..).into_iter().map(|change| change.kind).collect();
    use ChangeKind::{EnrollmentCreated, EnrollmentDeleted, EnrollmentUpdated};
    assert_eq!(kinds, [EnrollmentCreated, EnrollmentUpdated, EnrollmentDeleted]);
}

#[tokio::test]
async fn bad_enrollments_are_refused() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    for body in [
        json!({}),
        json!({"registrationId": "e"}),
        json!({"registrationId": "f", "attestation": {"type": "symmetricKey"}}),
        json!({"registrationId": "e", "attestation": {"type": "none"}}),
        json!({"registrationId": "e", "attestation": {"type": "smoke"}}),
        json!({"registrationId": "e", "attestation": {"type": "tpm"}}),
        json!({"registrationId": "e", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "?"}}}),
        json!({"registrationId": "e", "attestation": {"type": "x509", "x509": {}}}),
        json!({"registrationId": "e", "attestation": {"type": "x509",
            "x509": {"clientCertificates": {"primary": {"certificate": "nonsense"}}}}}),
        json!({"registrationId": "e", "attestation": {"type": "symmetricKey"}, "allocationPolicy": "custom"}),
        json!({"registrationId": "e", "attestation": {"type": "symmetricKey"}, "deviceId": "a b"}),
        json!({"registrationId": "e", "attestation": {"type": "symmetricKey"}, "initialTwin": {"tags": {"a.b": 1}}}),
    ] {
        client.put("/enrollments/e", body).await.expect(400);
    }
    client.put("/enrollments/-e", symmetric("-e")).await.expect(400);
    let tpm = json!({"enrollmentGroupId": "g", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "AAAA"}}});
    client.put("/enrollmentGroups/g", tpm).await.expect(400);
}

#[tokio::test]
async fn queries_page_and_filter() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    for n in 0..5 {
        client.put(&format!("/enrollments/e{n}"), symmetric(&format!("e{n}"))).await.expect(200);
        client.put(&format!("/enrollmentGroups/g{n}"), group(&format!("g{n}"))).await.expect(200);
    }
    let page = client.query("/enrollments/query", "SELECT * FROM enrollments", 2, None).await.expect(200);
    assert_eq!(page.header("x-ms-item-type"), Some("Enrollment"));
    assert_eq!(page.header("x-ms-max-item-count"), Some("2"));
    let token = page.header("x-ms-continuation").expect("token").to_owned();
    client.delete("/enrollments/e0").await.expect(204);
    let page = client.query("/enrollments/query", "SELECT * FROM enrollments", 9, Some(&token)).await.expect(200);
    let ids: Vec<_> = page.body.as_array().expect("page").iter().map(|it| &it["registrationId"]).collect();
    assert_eq!(ids, ["e2", "e3", "e4"]);
    assert!(page.header("x-ms-continuation").is_none());
    // The token belongs to the other collection, so it is refused.
    client.query("/enrollmentGroups/query", "SELECT * FROM enrollments", 9, Some(&token)).await.expect(400);
    let groups = client.query("/enrollmentgroups/query", "SELECT *", 9, None).await.expect(200);
    assert_eq!(groups.header("x-ms-item-type"), Some("EnrollmentGroup"));
    assert_eq!(groups.body.as_array().map(Vec::len), Some(5));
    let one = "SELECT * FROM enrollments WHERE registrationId = 'e3'";
    assert_eq!(client.query("/enrollments/query", one, 9, None).await.body.as_array().map(Vec::len), Some(1));
    client.query("/enrollments/query", "SELECT * FROM devices", 9, None).await.expect(400);
}

#[tokio::test]
async fn bulk_entries_stand_alone() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    let bulk = |mode: &str, entries: Vec<Value>| json!({"mode": mode, "enrollments": entries});
    let made = client.post("/enrollments", bulk("create", vec![symmetric("a"), symmetric("b")])).await.expect(200);
    assert_eq!(made.body, json!({"isSuccessful": true, "errors": []}));
    let again = client.post("/enrollments", bulk("create", vec![symmetric("b"), symmetric("c")])).await.expect(200);
    assert_eq!(again.body["isSuccessful"], false);
    assert_eq!(again.body["errors"][0]["registrationId"], "b");
    assert_eq!(again.body["errors"][0]["errorCode"], 409_201);
    client.get("/enrollments/c").await.expect(200);
    client.post("/enrollments", bulk("update", vec![symmetric("a")])).await.expect(200);
    let guarded = client.post("/enrollments", bulk("updateIfMatchETag", vec![symmetric("a")])).await.expect(200);
    assert_eq!(guarded.body["errors"][0]["errorCode"], 400_004);
    let gone = client.post("/enrollments", bulk("delete", vec![json!({"registrationId": "a"})])).await.expect(200);
    assert_eq!(gone.body["isSuccessful"], true);
    let many = (0..11).map(|n| symmetric(&format!("n{n}"))).collect();
    client.post("/enrollments", bulk("create", many)).await.expect(400);
    let groups = json!({"mode": "create", "enrollmentGroups": [group("g")]});
    assert_eq!(client.post("/enrollmentGroups", groups).await.expect(200).body["isSuccessful"], true);
}

#[tokio::test]
async fn a_device_registers_in_process() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    let devices = emulator.devices();
    let mut body = symmetric("sensor");
    body["deviceId"] = json!("sensor-1");
    body["initialTwin"] = json!({"tags": {"site": "Kiel"}, "properties": {"desired": {"rate": 5}}});
    client.put("/enrollments/sensor", body).await.expect(200);
    let stranger = Credential::SymmetricKey("AAAA".to_owned());
    assert_eq!(devices.provision("sensor", stranger).await.expect_err("stranger").code().number(), 401_002);
    let own = key(&client, "/enrollments/sensor").await;
    let state = devices.provision("sensor", Credential::SymmetricKey(own.clone())).await.expect("registration");
    assert_eq!((state.status, state.substatus), ("assigned", Some("initialAssignment")));
    assert_eq!(state.assigned_hub, Some(emulator.hub_host()));
    assert_eq!(state.device_id.as_deref(), Some("sensor-1"));
    let registry = hub(&emulator, "connector");
    let device = registry.get("/devices/sensor-1").await.expect(200);
    assert_eq!(device.body["authentication"]["symmetricKey"]["primaryKey"], json!(own));
    let twin = registry.get("/twins/sensor-1").await.expect(200);
    assert_eq!((&twin.body["tags"]["site"], &twin.body["properties"]["desired"]["rate"]), (&json!("Kiel"), &json!(5)));

    let record = client.get("/registrations/SENSOR").await.expect(200);
    assert_eq!(record.body["etag"], json!(state.etag));
    let embedded = client.get("/enrollments/sensor").await.expect(200);
    assert_eq!(embedded.body["registrationState"], record.body);
    let again = devices.provision("sensor", Credential::SymmetricKey(own.clone())).await.expect("registration");
    assert_eq!(again.substatus, Some("deviceDataMigrated"));
    assert_ne!(again.etag, state.etag);
    assert_eq!(again.created_date_time_utc, state.created_date_time_utc);

    devices.report("sensor-1", json!({"t": 20})).await.expect("report");
    let mut body = symmetric("sensor");
    body["deviceId"] = json!("sensor-1");
    body["reprovisionPolicy"] = json!({"updateHubAssignment": true, "migrateDeviceData": false});
    client.put_if("/enrollments/sensor", "*", body.clone()).await.expect(200);
    let reset = devices.provision("sensor", Credential::SymmetricKey(own.clone())).await.expect("registration");
    assert_eq!(reset.substatus, Some("deviceDataReset"));
    let after = registry.get("/twins/sensor-1").await.expect(200);
    assert_eq!(after.body["tags"], json!({}));
    assert!(after.body["properties"]["reported"].get("t").is_none());
    assert!(after.body["version"].as_u64() > twin.body["version"].as_u64());
    body["reprovisionPolicy"] = json!({"updateHubAssignment": false, "migrateDeviceData": false});
    client.put_if("/enrollments/sensor", "*", body).await.expect(200);
    let kept = devices.provision("sensor", Credential::SymmetricKey(own.clone())).await.expect("registration");
    assert_eq!(kept.substatus, Some("reprovisionedToInitialAssignment"));

    let mut body = symmetric("sensor");
    body["provisioningStatus"] = json!("disabled");
    client.put_if("/enrollments/sensor", "*", body).await.expect(200);
    let refused = devices.provision("sensor", Credential::SymmetricKey(own.clone())).await.expect("registration");
    assert_eq!((refused.status, refused.assigned_hub.as_ref()), ("disabled", None));
    assert!(refused.error_code.is_some() && refused.error_message.is_some());
    let mut body = symmetric("sensor");
    body["iotHubHostName"] = json!("elsewhere.azure-devices.net");
    client.put_if("/enrollments/sensor", "*", body).await.expect(200);
    let failed = devices.provision("sensor", Credential::SymmetricKey(own)).await.expect("registration");
    assert_eq!((failed.status, failed.error_code), ("failed", Some(404_210)));

    client.call("DELETE", "/registrations/sensor", &[("if-match", "\"old\"")], None).await.expect(412);
    client.delete("/registrations/sensor").await.expect(204);
    assert_eq!(client.get("/registrations/sensor").await.expect(404).body["errorCode"], 404_202);
    registry.get("/devices/sensor-1").await.expect(200);
    let changes = emulator.journal().snapshot(..);
    let count = |kind| changes.iter().filter(|change| change.kind == kind).count();
    assert_eq!((count(ChangeKind::RegistrationChanged), count(ChangeKind::RegistrationDeleted)), (6, 1));
}

#[tokio::test]
async fn a_group_lets_its_devices_in() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    client.put("/enrollmentGroups/line", group("line")).await.expect(200);
    client.put("/enrollmentGroups/other", group("other")).await.expect(200);
    let group_key = key(&client, "/enrollmentGroups/line").await;
    let devices = emulator.devices();
    for id in ["m1", "m2", "m3"] {
        let credential = Credential::derived(&group_key, id).expect("credential");
        assert_eq!(devices.provision(id, credential).await.expect("registration").status, "assigned");
    }
    let swapped = Credential::derived(&group_key, "m1").expect("credential");
    assert!(devices.provision("m4", swapped).await.is_err());
    let page =
        client.call("POST", "/registrations/line/query", &[("x-ms-max-item-count", "2")], None).await.expect(200);
    assert_eq!(page.header("x-ms-item-type"), Some("DeviceRegistration"));
    assert_eq!(page.body.as_array().map(Vec::len), Some(2));
    let next = [("x-ms-continuation", page.header("x-ms-continuation").expect("token"))];
    let page = client.call("POST", "/registrations/line/query", &next, None).await.expect(200);
    assert_eq!(page.body[0]["registrationId"], "m3");
    let empty = client.call("POST", "/registrations/other/query", &[], None).await.expect(200);
    assert_eq!(empty.body, json!([]));
    client.call("POST", "/registrations/none/query", &[], None).await.expect(404);
    client.delete("/enrollmentGroups/line").await.expect(204);
    client.get("/registrations/m1").await.expect(404);
}

#[tokio::test]
async fn certificates_and_modules_attest() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    let devices = emulator.devices();
    let (pem, thumbprint) = certificate("press");
    let body = json!({"registrationId": "press", "attestation": {"type": "x509",
        "x509": {"clientCertificates": {"primary": {"certificate": pem}}}}});
    let made = client.put("/enrollments/press", body).await.expect(200);
    let info = &made.body["attestation"]["x509"]["clientCertificates"]["primary"]["info"];
    assert_eq!(info["subjectName"], "CN=press");
    assert_eq!(info["version"], 3);
    assert_eq!(info["sha256Thumbprint"], json!(thumbprint.to_uppercase()));
    assert_eq!(info["sha1Thumbprint"].as_str().map(str::len), Some(40));
    assert!(made.body["attestation"]["x509"]["clientCertificates"]["primary"].get("certificate").is_none());
    client.put_if("/enrollments/press", "*", made.body.clone()).await.expect(200);
    let shown = |subject: &str| Credential::X509 {
        subject: subject.to_owned(),
        thumbprint: thumbprint.clone(),
        issuers: Vec::new(),
    };
    assert!(devices.provision("press", shown("lathe")).await.is_err());
    assert_eq!(devices.provision("press", shown("press")).await.expect("registration").status, "assigned");
    let device = hub(&emulator, "connector").get("/devices/press").await.expect(200);
    assert_eq!(device.body["authentication"]["type"], "selfSigned");

    let (ca, ca_thumbprint) = certificate("factory CA");
    let body = json!({"enrollmentGroupId": "factory", "attestation": {"type": "x509",
        "x509": {"signingCertificates": {"primary": {"certificate": ca}}}}});
    client.put("/enrollmentGroups/factory", body).await.expect(200);
    let signed =
        Credential::X509 { subject: "lathe".to_owned(), thumbprint: "00".repeat(32), issuers: vec![ca_thumbprint] };
    assert_eq!(devices.provision("lathe", signed).await.expect("registration").status, "assigned");
    let device = hub(&emulator, "connector").get("/devices/lathe").await.expect(200);
    assert_eq!(device.body["authentication"], json!({"type": "certificateAuthority"}));

    let tpm = json!({"registrationId": "robot", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "AToAAQ=="}}});
    client.put("/enrollments/robot", tpm).await.expect(200);
    let credential = Credential::Tpm { endorsement_key: "AToAAQ==".to_owned() };
    assert_eq!(devices.provision("robot", credential).await.expect("registration").status, "assigned");
}

#[tokio::test]
async fn a_device_registers_over_https() {
    let emulator = start().await;
    let client = dps(&emulator, "connector");
    client.put("/enrollments/sensor", symmetric("sensor")).await.expect(200);
    let own = key(&client, "/enrollments/sensor").await;
    let device = as_device(&emulator, "sensor", &own);
    let path = format!("/{}/registrations/sensor", emulator.id_scope());
    let body = json!({"registrationId": "sensor"});
    let accepted = device.put(&format!("{path}/register"), body.clone()).await.expect(202);
    assert_eq!(accepted.body["status"], "assigning");
    assert!(accepted.header("retry-after").is_some());
    let operation = accepted.body["operationId"].as_str().expect("operation");
    let done = device.get(&format!("{path}/operations/{operation}")).await.expect(200);
    assert_eq!(done.body["status"], "assigned");
    assert_eq!(done.body["registrationState"]["assignedHub"], json!(emulator.hub_host()));
    device.get(&format!("{path}/operations/other")).await.expect(404);
    device.post(&path, body.clone()).await.expect(200);
    as_device(&emulator, "other", &own).put(&format!("{path}/register"), body.clone()).await.expect(401);
    as_device(&emulator, "sensor", "AAAA").put(&format!("{path}/register"), body).await.expect(401);
}

fn as_device(emulator: &Emulator, registration_id: &str, key: &str) -> Client {
    let resource = format!("{}/registrations/{registration_id}", emulator.id_scope());
    dps(emulator, "connector").authorize(token(&resource, key, Some("registration"), 60))
}
