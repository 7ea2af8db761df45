//! Microsoft's clients for Node.js as witnesses that the emulator behaves like the services.

mod common;
#[path = "common/node_clients.rs"]
mod node_clients;

use std::sync::Arc;
use std::time::Duration;

use azure_iot_emulator::{
    Credential, DevicesOnline, Emulator, EmulatorOptions, EventBody, EventSource, FileUpload, MethodReply,
};
use common::{hub, start_with};
use node_clients::{passed, run_node};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;

/// An emulator that gives feedback without waiting for more of it.
async fn start() -> Emulator {
    let mut options = EmulatorOptions::default();
    options.amqp.feedback_wait = Duration::ZERO;
    start_with(options).await
}

/// A connection string with the host of a client that uses the well-known ports.
fn on_well_known_ports(connection: &str) -> String {
    let (host, rest) = connection.split_once(';').expect("fields");
    format!("{};{rest}", host.rsplit_once(':').expect("a port").0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_client_works_unchanged() {
    let emulator = Arc::new(start().await);
    hub(&emulator, "connector").put("/devices/press-1", json!({ "deviceId": "press-1" })).await.expect(200);
    let devices = emulator.devices();
    devices.on_method("press-1", {
        let devices = devices.clone();
        move |call| {
            let devices = devices.clone();
            async move {
                if call.method == "upload" {
                    let (device_id, blob_name) = ("press-1".to_owned(), "press-1/log.txt".to_owned());
                    let blob_uri = format!("https://example.invalid/{blob_name}");
                    devices.upload_file(FileUpload { device_id, blob_uri, blob_name, size: 12 }).await.expect("notice");
                }
                MethodReply::answer(200, call.payload)
            }
        }
    });
    let taker = tokio::spawn(async move {
        loop {
            devices.take_messages("press-1").await.expect("messages");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let connection = on_well_known_ports(&emulator.hub_connection_string("connector").expect("policy"));
    let ports = [(443, &*emulator.hub_host()), (5671, &*emulator.hub_amqp_host())];
    passed(&run_node(&emulator, "hub.js", &ports, vec![("HUB_CONNECTION_STRING", connection)]).await);
    taker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provisioning_service_client_works_unchanged() {
    let emulator = start().await;
    let key = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
    let keys = json!({ "primaryKey": key, "secondaryKey": key });
    let group = json!({ "attestation": { "type": "symmetricKey", "symmetricKey": keys } });
    emulator.create_enrollment_group("line", group).expect("group");
    let credential = Credential::derived(key, "registered").expect("key");
    emulator.devices().provision("registered", credential).await.expect("registration");
    let certificate = {
        let key = KeyPair::generate().expect("key");
        CertificateParams::new(vec!["certified".to_owned()]).expect("names").self_signed(&key).expect("certificate")
    };
    let connection = on_well_known_ports(&emulator.dps_connection_string("connector").expect("policy"));
    let environment = vec![("DPS_CONNECTION_STRING", connection), ("CERTIFICATE", certificate.pem())];
    passed(&run_node(&emulator, "provisioning.js", &[(443, &emulator.dps_host())], environment).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_client_sends_batches_over_https() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let device = client.put("/devices/press-1", json!({ "deviceId": "press-1" })).await.expect(200).body;
    let key = device["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("key");
    let connection = format!("HostName=localhost;DeviceId=press-1;SharedAccessKey={key}");
    let environment = vec![("DEVICE_CONNECTION_STRING", connection)];
    passed(&run_node(&emulator, "device_http.js", &[(443, &emulator.hub_host())], environment).await);

    let telemetry = emulator.telemetry();
    let events: Vec<_> = telemetry.events(telemetry.partition_of("press-1")).into_iter().map(|(_, _, it)| it).collect();
    assert_eq!(events.len(), 4, "{events:?}");
    for (event, number) in events.iter().zip(1..) {
        assert_eq!(event.body, EventBody::from(json!({ "number": number }).to_string()));
        assert_eq!(event.properties, [("level".to_owned(), number.to_string())]);
    }
    assert_eq!(
        (events[0].message_id.as_deref(), events[0].content_type.as_deref()),
        (Some("one"), Some("application/json"))
    );
}

/// A certificate with this common name, and its key. With an issuer it is followed by the issuer's certificate.
fn certificate(name: &str, issuer: Option<&(CertificateParams, String, KeyPair)>) -> (String, String) {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = match issuer {
        None => params.self_signed(&key).expect("certificate").pem(),
        Some((issuer_params, issuer_pem, issuer_key)) => {
            let issuer = Issuer::from_params(issuer_params, issuer_key);
            params.signed_by(&key, &issuer).expect("certificate").pem() + issuer_pem
        }
    };
    (pem, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_use_amqp() {
    let mut options = EmulatorOptions::default();
    options.amqp.feedback_wait = Duration::ZERO;
    options.devices_online = DevicesOnline::Registered;
    options.system_event_routes = [EventSource::DeviceConnectionState].into();
    let emulator = start_with(options).await;
    let (certificate, key) = certificate("anything", None);
    let connection = on_well_known_ports(&emulator.hub_connection_string("connector").expect("policy"));
    let ports = [(443, &*emulator.hub_host()), (5671, &*emulator.hub_amqp_host())];
    let environment = vec![("HUB_CONNECTION_STRING", connection), ("CERTIFICATE", certificate), ("KEY", key)];
    passed(&run_node(&emulator, "device_amqp.js", &ports, environment).await);

    let telemetry = emulator.telemetry();
    for name in ["AMQP", "WebSockets"] {
        let device = format!("device-{name}");
        let events = telemetry.events(telemetry.partition_of(&device)).into_iter().map(|(_, _, event)| event);
        let (events, states): (Vec<_>, Vec<_>) =
            events.filter(|event| event.device_id == device).partition(|event| event.source == EventSource::Telemetry);
        let bodies: Vec<_> = events.iter().map(|event| (event.module_id.as_deref(), event.body.clone())).collect();
        let body = |text: &'static str| EventBody::from(text);
        let binary = EventBody::Data(vec![0, 255].into());
        let (one, axis) = ((None, body(r#"{"n":1}"#)), Some("axis"));
        assert_eq!(bodies, [one, (None, binary), (axis, body(r#"{"m":1}"#)), (axis, body(r#"{"m":2}"#))]);
        let event = &events[0];
        assert_eq!(event.message_id.as_deref(), Some(r#"{"n":1}"#));
        assert_eq!(event.correlation_id.as_deref(), Some("c"));
        assert_eq!(event.content_type.as_deref(), Some("application/json"));
        let properties = [("level", "5"), ("größe & more", "a=b&c")];
        assert_eq!(event.properties, properties.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let states: Vec<_> = states
            .iter()
            .map(|event| {
                let operation = event.properties.iter().find(|(name, _)| name == "opType").expect("an operation");
                (event.module_id.as_deref(), operation.1.as_str())
            })
            .collect();
        let expected = [
            (None, "deviceConnected"),
            (axis, "deviceConnected"),
            (axis, "deviceDisconnected"),
            (None, "deviceDisconnected"),
        ];
        assert_eq!(states, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_register_by_amqp() {
    let emulator = start().await;
    let dps = common::dps(&emulator, "connector");
    let key = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
    let keys = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key, "secondaryKey": key } });
    emulator.create_enrollment_group("line", json!({ "attestation": keys.clone() })).expect("group");
    for id in ["single-amqp", "single-ws"] {
        let enrollment = json!({ "registrationId": id, "attestation": keys.clone() });
        dps.put(&format!("/enrollments/{id}"), enrollment).await.expect(200);
    }
    let (self_signed, self_signed_key) = certificate("self-signed", None);
    let primary = json!({ "primary": { "certificate": self_signed } });
    let attestation = json!({ "type": "x509", "x509": { "clientCertificates": primary } });
    let enrollment = json!({ "registrationId": "self-signed", "attestation": attestation });
    dps.put("/enrollments/self-signed", enrollment).await.expect(200);
    let authority = {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("certificate").pem();
        (params, pem, key)
    };
    let primary = json!({ "primary": { "certificate": authority.1 } });
    let attestation = json!({ "type": "x509", "x509": { "signingCertificates": primary } });
    emulator.create_enrollment_group("certified", json!({ "attestation": attestation })).expect("group");
    let (issued, issued_key) = certificate("issued", Some(&authority));
    let environment = vec![
        ("ID_SCOPE", emulator.id_scope().to_owned()),
        ("GROUP_KEY", key.to_owned()),
        ("KEY", key.to_owned()),
        ("CERTIFICATE", self_signed),
        ("CERTIFICATE_KEY", self_signed_key),
        ("ISSUED", issued),
        ("ISSUED_KEY", issued_key),
    ];
    let ports = [(443, &*emulator.dps_host()), (5671, &*emulator.hub_amqp_host())];
    passed(&run_node(&emulator, "provisioning_amqp.js", &ports, environment).await);
}
