//! A hub under its Azure names: which names it has, who may use each name, and which token each name accepts.

mod common;
#[path = "common/amqp.rs"]
mod wire;

use azure_iot_emulator::{AmqpOptions, Emulator, EmulatorOptions, GatewayVersion, HubName, PasswordLogin};
use common::{Client, policy_token, start, start_with, token};
use fe2o3_amqp::sasl_profile::SaslProfile;
use serde_json::json;
use wire::Client as AmqpClient;

const NAMES: [HubName; 3] = [HubName::Classic, HubName::Service, HubName::Device];

fn v2() -> EmulatorOptions {
    EmulatorOptions { gateway: GatewayVersion::V2, ..EmulatorOptions::default() }
}

fn by(emulator: &Emulator, name: HubName) -> String {
    emulator.hub_host_by(name).expect("a name")
}

fn bare(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[tokio::test]
async fn a_token_is_for_the_name_that_the_client_connects_to() {
    let emulator = start_with(v2()).await;
    let policy = emulator.hub_policy("iothubowner").expect("policy");
    for host_name in [HubName::Classic, HubName::Service] {
        let host = by(&emulator, host_name);
        for (signed, status) in NAMES.map(|signed| (signed, if signed == host_name { 404 } else { 401 })) {
            let signed = by(&emulator, signed);
            // The resource has the port or, as at the service, no port.
            for resource in [signed.as_str(), bare(&signed), &format!("{}/devices/d", bare(&signed))] {
                let client = Client::new(&emulator, host.clone(), Some(policy_token(resource, policy, 60)));
                assert_eq!(client.get("/devices/d").await.status, status, "{resource} at {host}");
            }
        }
        let local = policy_token(&emulator.hub_host(), policy, 60);
        Client::new(&emulator, host, Some(local)).get("/devices/d").await.expect(401);
    }
    let host = format!(
        "plant.service.privatelink.azure-devices.net:{}",
        by(&emulator, HubName::Classic).rsplit_once(':').expect("a port").1
    );
    Client::new(&emulator, host.clone(), Some(policy_token(&host, policy, 60))).get("/devices/d").await.expect(404);
    emulator.shutdown().await;
}

#[tokio::test]
async fn each_name_serves_those_that_it_is_for() {
    let emulator = start_with(v2()).await;
    let policy = emulator.hub_policy("iothubowner").expect("policy");
    common::hub(&emulator, "iothubowner").put("/devices/d", json!({ "deviceId": "d" })).await.expect(200);
    for (name, service, device) in
        [(HubName::Classic, 200, 204), (HubName::Service, 200, 404), (HubName::Device, 404, 204)]
    {
        let host = by(&emulator, name);
        let client = Client::new(&emulator, host.clone(), Some(policy_token(&host, policy, 60)));
        assert_eq!(client.get("/devices/d").await.status, service, "{name:?}");
        assert_eq!(client.post("/devices/d/messages/events", json!({ "t": 20 })).await.status, device, "{name:?}");
    }
    emulator.shutdown().await;
    // A hub with the older gateway version has only the classic name.
    let emulator = start().await;
    assert_eq!(NAMES.map(|name| emulator.hub_host_by(name).is_some()), [true, false, false]);
    emulator.shutdown().await;
}

#[tokio::test]
async fn amqp_goes_by_the_name_in_the_handshake() {
    let emulator = start_with(v2()).await;
    let policy = emulator.hub_policy("service").expect("policy");
    for host_name in NAMES {
        let host = emulator.hub_amqp_host_by(host_name).expect("a name");
        for signed in NAMES {
            let resource = bare(&emulator.hub_amqp_host_by(signed).expect("a name")).to_owned();
            let password = token(&resource, &policy.primary_key, Some("service"), 60);
            let plain = SaslProfile::Plain { username: "service@sas.root.plant".into(), password: password.clone() };
            let fits = signed == host_name && host_name != HubName::Device;
            assert_eq!(AmqpClient::open(&emulator, &host, plain).await.is_ok(), fits, "{signed:?} at {host_name:?}");
            let mut client = AmqpClient::open(&emulator, &host, SaslProfile::Anonymous).await.expect("open");
            let status = client.put_token(&resource, &password).await.0;
            assert_eq!(status == 202 || status == 200, fits, "{signed:?} at {host_name:?}: {status}");
        }
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn passwords_can_be_refused_or_not_be_offered() {
    for (passwords, works) in
        [(PasswordLogin::Taken, true), (PasswordLogin::Refused, false), (PasswordLogin::NotOffered, false)]
    {
        let amqp = AmqpOptions { passwords, ..AmqpOptions::default() };
        let emulator = start_with(EmulatorOptions { amqp, ..v2() }).await;
        let policy = emulator.hub_policy("service").expect("policy");
        let (host, events) = (emulator.hub_amqp_host(), emulator.event_hub_host());
        let password = policy_token(&host, policy, 60);
        let plain = SaslProfile::Plain { username: "service@sas.root.plant".into(), password: password.clone() };
        assert_eq!(AmqpClient::open(&emulator, &host, plain).await.is_ok(), works, "{passwords:?}");
        // Tokens on `$cbs` are always accepted, and the Event Hub-compatible endpoint always accepts passwords.
        let mut client = AmqpClient::open(&emulator, &host, SaslProfile::Anonymous).await.expect("open");
        assert_eq!(client.put_token("localhost", &policy_token("localhost", policy, 60)).await.0 / 100, 2);
        let key = SaslProfile::Plain { username: "service".into(), password: policy.primary_key.clone() };
        AmqpClient::open(&emulator, &events, key).await.expect("open");
        emulator.shutdown().await;
    }
}
