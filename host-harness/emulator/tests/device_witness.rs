//! Microsoft's own clients for devices as witnesses that devices find the hub and the provisioning service here.
//!
//! These clients cannot be told a port, so the emulator binds 443, 5671 and 8883 of a loopback address. Where it may not,
//! the tests fail and say so.

mod common;
#[path = "common/node.rs"]
mod node;
#[path = "common/venv.rs"]
mod venv;

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};
use std::time::Duration;

use azure_iot_emulator::{DevicesOnline, Emulator, EmulatorOptions, EventBody, TelemetryEvent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Client, dps, hub, start_with};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use sha2::Sha256;

const KEY: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0";

async fn start(address: u8) -> Emulator {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, address));
    let emulator = start_with(EmulatorOptions {
        device_address: Some(address),
        devices_online: DevicesOnline::Registered,
        ..EmulatorOptions::default()
    })
    .await;
    let missing = emulator.well_known_ports().expect("ports").missing();
    assert!(
        missing.is_empty(),
        "Microsoft's clients for devices can use ports 443, 5671 and 8883 only, and {missing:?} of {address} cannot be \
         bound here: run the test where they are free, with the right to bind them"
    );
    emulator
}

/// A certificate and its key, in PEM, by an authority or by itself.
fn certificate(name: &str, issuer: Option<&Issuer<'_, KeyPair>>) -> (String, String) {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    (certificate.expect("certificate").pem(), key.serialize_pem())
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Makes the devices and enrollments, and the plan that tells the witness of them.
async fn prepare(emulator: &Emulator, client: &Client, web_sockets: bool) -> Value {
    client.put("/devices/press", json!({"deviceId": "press"})).await.expect(200);
    client.put("/devices/press/modules/pump", json!({"deviceId": "press", "moduleId": "pump"})).await.expect(201);
    client.patch("/twins/press", json!({"properties": {"desired": {"speed": 3}}})).await.expect(200);

    let provisioning = dps(emulator, "connector");
    let keys = json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": KEY, "secondaryKey": KEY}});
    let individual = json!({"registrationId": "single", "attestation": keys});
    provisioning.put("/enrollments/single", individual).await.expect(200);
    let group = json!({"enrollmentGroupId": "line", "attestation": keys});
    provisioning.put("/enrollmentGroups/line", group).await.expect(200);
    let mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).expect("key")).expect("key");
    let derived = STANDARD.encode(mac.chain_update("member").finalize().into_bytes());

    let (own, own_key) = certificate("self", None);
    let x509 = json!({"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": own}}}});
    let body = json!({"registrationId": "self", "attestation": x509});
    provisioning.put("/enrollments/self", body).await.expect(200);

    let authority_key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.distinguished_name = named("the plant's authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("certificate").pem();
    let issuer = Issuer::from_params(&params, authority_key);
    let (issued, issued_key) = certificate("issued", Some(&issuer));
    let x509 = json!({"type": "x509", "x509": {"signingCertificates": {"primary": {"certificate": authority}}}});
    let body = json!({"enrollmentGroupId": "issued-devices", "attestation": x509});
    provisioning.put("/enrollmentGroups/issued-devices", body).await.expect(200);

    let address = emulator.well_known_ports().expect("ports").address;
    let device = emulator.device_connection_string("press").expect("a device");
    json!({
        "webSockets": web_sockets,
        "ca": emulator.ca_pem(),
        "deviceAtPort": device.replace(&address.to_string(), &emulator.mqtt_host()),
        "device": device,
        "module": emulator.module_connection_string("press", "pump").expect("a module"),
        "dpsHost": address.to_string(),
        "scope": emulator.id_scope(),
        "provision": {
            "its own key": {"registration": "single", "symmetricKey": KEY},
            "a derived key": {"registration": "member", "symmetricKey": derived},
            "its own certificate": {"registration": "self", "certificate": own, "key": own_key},
            "an issued certificate": {"registration": "issued", "certificate": issued, "key": issued_key},
        },
    })
}

/// Plays the back end of the device `press`, once it says that it is ready.
async fn play(emulator: &Emulator, client: &Client) {
    for _ in 0..1200 {
        let twin = emulator.twin("press").expect("a twin");
        if !twin["properties"]["reported"]["ready"].is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let call = json!({"methodName": "reboot", "payload": {"delay": 5}, "connectTimeoutInSeconds": 20});
    let answer = client.post("/twins/press/methods", call).await.expect(200).body;
    assert_eq!(answer, json!({"status": 207, "payload": {"done": true}}));
    client.patch("/twins/press", json!({"properties": {"desired": {"speed": 4}}})).await.expect(200);
    let headers = [("iothub-messageid", "c2d-1"), ("iothub-app-colour", "blue & red")];
    client.call("POST", "/devices/press/messages/deviceBound", &headers, Some(json!("hello"))).await.expect(204);
}

/// What the hub has of the witness's devices.
async fn judge(emulator: &Emulator, client: &Client) {
    let telemetry = emulator.telemetry();
    let all = (0..telemetry.partition_count()).flat_map(|partition| telemetry.events(partition));
    let events: Vec<TelemetryEvent> = all.map(|(_, _, event)| event).collect();
    let of = |device: &str, module: Option<&str>| {
        let found = events.iter().find(|event| event.device_id == device && event.module_id.as_deref() == module);
        found.unwrap_or_else(|| panic!("nothing came from {device} {module:?}"))
    };
    let first = of("press", None);
    assert_eq!(first.body, EventBody::Data("{\"temperature\": 21.5}".into()));
    assert_eq!(first.content_type.as_deref(), Some("application/json"));
    assert_eq!(first.content_encoding.as_deref(), Some("utf-8"));
    assert_eq!(first.correlation_id.as_deref(), Some("correlation-1"));
    assert_eq!(first.properties, [("a b".to_owned(), "c&d".to_owned())]);
    of("press", Some("pump"));
    for registration in ["single", "member", "self", "issued"] {
        of(registration, None);
    }
    assert_eq!(emulator.twin("press").expect("twin")["properties"]["reported"]["firmware"], "1.2");
    assert_eq!(client.get("/devices/press").await.expect(200).body["cloudToDeviceMessageCount"], 0);
    assert_eq!(emulator.uploaded_file("press", "logs/day 1.txt"), Some("a file".into()));
    assert_eq!(emulator.file_notices_left(), 1);
}

async fn run(mut command: Command, plan: &Value) -> Output {
    command.env("DEVICE_PLAN", plan.to_string());
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    tokio::task::spawn_blocking(move || command.output()).await.expect("task").expect("the witness runs")
}

async fn python(address: u8, web_sockets: bool) {
    let python = tokio::task::spawn_blocking(venv::device_environment).await.expect("virtual environment");
    let emulator = start(address).await;
    let client = hub(&emulator, "connector");
    let plan = prepare(&emulator, &client, web_sockets).await;
    let mut command = Command::new(python);
    command.arg(venv::root().join("tests/witness/device_sdk.py"));
    let (output, ()) = tokio::join!(run(command, &plan), play(&emulator, &client));
    venv::report(&output, " 0 failed");
    judge(&emulator, &client).await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_device_client_works_unchanged() {
    python(2, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_device_client_works_unchanged_over_web_sockets() {
    python(3, true).await;
}

async fn node(address: u8, web_sockets: bool) {
    let place = tokio::task::spawn_blocking(|| node::environment(&venv::root())).await.expect("packages");
    let emulator = start(address).await;
    let client = hub(&emulator, "connector");
    let plan = prepare(&emulator, &client, web_sockets).await;
    let authority = place.join(format!("ca-{address}-{}.pem", std::process::id()));
    std::fs::write(&authority, emulator.ca_pem()).expect("CA file");
    let mut command = Command::new("node");
    command.arg(place.join("device_sdk.cjs")).env("NODE_EXTRA_CA_CERTS", &authority);
    let (output, ()) = tokio::join!(run(command, &plan), play(&emulator, &client));
    std::fs::remove_file(&authority).expect("clean up");
    venv::report(&output, " 0 failed");
    judge(&emulator, &client).await;
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_device_client_works_unchanged() {
    node(4, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_device_client_works_unchanged_over_web_sockets() {
    node(5, true).await;
}
