//! Embedding the host: load a component, link an account, test it, read the present state, and print what changes.
//!
//! ```sh
//! cargo run --package connector-host-cli --example embed -- COMPONENT [CONNECTION]
//! ```
//! Without a connection file it starts the emulator, and links an account of the emulator.

use std::time::Duration;

use connector_host::interface::action::Call;
use connector_host::interface::trigger::PollRequest;
use connector_host::{Connection, Host, HostOptions, Tenant, TenantOptions, TrustRoots};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().ok_or_else(|| anyhow::anyhow!("usage: embed COMPONENT [CONNECTION]"))?;

    // A process needs one host.
    let host = Host::new(HostOptions::default())?;
    let connector = host.load_file(component).await?;
    println!("{} {}", connector.descriptor().title, connector.descriptor().version);

    // Each tenant is made one time. The emulator listens on loopback, which is no public address: the operator has to
    // permit it.
    let (tenant, connection, _emulator) = match arguments.next() {
        Some(file) => {
            let connection: Connection = serde_json::from_str(&std::fs::read_to_string(file)?)?;
            (Tenant::new(TenantOptions::default())?, connection, None)
        }
        None => {
            let emulator = azure_iot_emulator::Emulator::start(azure_iot_emulator::EmulatorOptions::default()).await?;
            let options = TenantOptions::default()
                .with_trust_roots(TrustRoots::Only(emulator.ca_pem().to_owned()))
                .with_allow_hosts(["localhost".parse()?])
                .with_allow_private_networks(true);
            let tenant = Tenant::new(options)?;
            let string = emulator.hub_connection_string("connector");
            let values = json!({ "iotHubConnectionString": string, "trustedHostSuffixes": ["localhost"] });
            let connection = Connection::new("connection-string", connector_host::Secret::new(values.to_string()));
            (tenant, connection, Some(emulator))
        }
    };

    let account = connector.account(&tenant, &connection);
    for check in account.test().await?.checks {
        println!("{:?}: {}", check.outcome, check.title);
    }

    // An engine stores the cursor. This example only keeps it in a variable.
    let mut request = PollRequest::new("device-twin-changed", "all");
    request.cursor = Some(account.poll(&request).await?.next);

    let call = Call::default().with_idempotency_key("example-1");
    let input = r#"{"deviceId": "embedded-example", "ifExists": "keep"}"#;
    account.invoke("create-device", input, &call).await?;

    let page = account.poll(&request).await?;
    for event in &page.events {
        println!("{} {}", event.event_type, event.summary);
        // The cursor that an engine stores after its work on the event is done.
        request.cursor = Some(event.cursor(request.cursor.as_ref()));
    }
    account.invoke("delete-device", r#"{"deviceId": "embedded-example"}"#, &call).await?;

    // Before the process ends, calls that still run have ten seconds to finish.
    let report = host.drain(Duration::from_secs(10)).await;
    println!("{} calls finished, {} cancelled", report.finished, report.cancelled);
    Ok(())
}
