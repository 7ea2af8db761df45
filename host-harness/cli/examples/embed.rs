//! Embedding the host: load a component, link an account, test it, take stock, and print what changes.
//!
//! ```sh
//! cargo run --package connector-host-cli --example embed -- COMPONENT [CONNECTION]
//! ```
//! Without a connection file it starts the emulator and links an account with that.

use std::time::Duration;

use connector_host::interface::action::Call;
use connector_host::interface::trigger::PollRequest;
use connector_host::{Connection, Host, HostOptions, Tenant, TenantOptions, TrustRoots};
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().ok_or_else(|| anyhow::anyhow!("usage: embed COMPONENT [CONNECTION]"))?;

    // Once in a process.
    let host = Host::new(HostOptions::default())?;
    let connector = host.load_file(component).await?;
    println!("{} {}", connector.descriptor().title, connector.descriptor().version);

    // Once for each tenant. An emulator is nobody's idea of a public host: the operator has to permit it.
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

    // An engine stores the cursor; here it only lives in this variable.
    let mut request = PollRequest::new("device-twin-changed", "all");
    request.cursor = Some(account.poll(&request).await?.next);

    let call = Call::default().with_idempotency_key("example-1");
    let input = r#"{"deviceId": "embedded-example", "ifExists": "keep"}"#;
    account.invoke("create-device", input, &call).await?;

    let page = account.poll(&request).await?;
    for event in &page.events {
        println!("{} {}", event.event_type, event.summary);
        // After the work on it is done: what to store.
        request.cursor = Some(event.cursor(request.cursor.as_ref()));
    }
    account.invoke("delete-device", r#"{"deviceId": "embedded-example"}"#, &call).await?;

    // Before the process ends: what runs still has ten seconds.
    let report = host.drain(Duration::from_secs(10)).await;
    println!("{} calls finished, {} cancelled", report.finished, report.cancelled);
    Ok(())
}
