//! The life of a warm account: many calls use one instance of the connector.
//!
//! ```sh
//! cargo run --package connector-host --example warm -- COMPONENT CONNECTION TRIGGER
//! ```
//! The connection is a JSON file: `{"authProfile": "...", "values": {...}}`.

use std::error::Error;
use std::time::{Duration, Instant};

use connector_host::interface::trigger::PollRequest;
use connector_host::{Connection, Host, HostOptions, Limits, Tenant, TenantOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [component, connection, trigger] = &arguments[..] else { return Err("COMPONENT CONNECTION TRIGGER".into()) };
    let host = Host::new(HostOptions::default().with_warm_instances(64))?;
    let connector = host.load_file(component).await?;
    // An instance without calls is discarded after one minute.
    let limits = Limits::default().with_warm_idle(Duration::from_secs(60)).with_warm_instances(2);
    let tenant = Tenant::new(TenantOptions::default().with_name("example").with_limits(limits))?;
    let connection: Connection = serde_json::from_str(&std::fs::read_to_string(connection)?)?;

    // The first call creates the instance and opens its connections. The next calls reuse them.
    let account = connector.open(&tenant, &connection).await?;
    assert!(account.is_warm());
    let partitions = account.partitions(trigger, "{}").await?;
    let partition = partitions.first().map(|partition| partition.id.clone()).unwrap_or_default();
    let mut request = PollRequest::new(trigger, partition);
    for poll in 1..=3 {
        let begun = Instant::now();
        let page = account.poll(&request).await?;
        println!("poll {poll}: {} events after {} ms", page.events.len(), begun.elapsed().as_millis());
        request = request.with_cursor(page.next);
    }
    println!("memory: {:?} bytes, handles: {:?}", account.memory_bytes().await, account.handles().await);

    // Calls on one instance wait for each other. For parallel calls, a sibling has an instance of its own. A clone can
    // have its own deadline.
    let (hurried, sibling) = (account.with_deadline(Duration::from_secs(5)), account.sibling());
    let (poll, label) = tokio::join!(hurried.poll(&request), sibling.label());
    println!("{} events for {}", poll?.events.len(), label?);

    // `discard` waits until the connector has closed its connections properly. Dropping the account does not wait.
    account.discard().await;
    sibling.discard().await;
    assert_eq!(account.memory_bytes().await, None);
    Ok(())
}
