//! Many tenants in one process. Each has its own limits and connections, and all are shut down properly.
//!
//! ```sh
//! cargo run --package connector-host --example tenants -- COMPONENT CONNECTION...
//! ```
//! Each connection file belongs to one tenant, whose name is the name of the file.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use connector_host::{Account, Connection, Connector, Host, HostOptions, Limits, Tenant, TenantOptions};
use tokio::task::JoinSet;

/// How long running calls may continue when a tenant or the process ends.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().ok_or("usage: tenants COMPONENT CONNECTION...")?;
    // Limits for all tenants together. The next turn goes to the tenant that has the fewest turns.
    let host = Host::new(HostOptions::default().with_concurrent_calls(128).with_concurrent_exchanges(1_024))?;
    // Everything that a tenant enters can be sent below the connector's domains. For a connector whose author you do
    // not trust, state the permitted domains in `LoadOptions`.
    let connector = host.load_file(component).await?;

    let tenants = arguments.map(|file| linked(&connector, Path::new(&file))).collect::<Result<Vec<_>, _>>()?;
    let mut tests = JoinSet::new();
    for (tenant, account) in &tenants {
        let (name, account) = (tenant.name().to_owned(), account.clone());
        tests.spawn(async move { (name, account.test().await) });
    }
    while let Some(tested) = tests.join_next().await {
        match tested? {
            (name, Ok(report)) => println!("{name}: {} checks", report.checks.len()),
            // The failure of one tenant does not affect the others.
            (name, Err(error)) => println!("{name}: {error}"),
        }
    }

    // One tenant leaves: its new calls are refused, and its connections are closed.
    if let Some((tenant, account)) = tenants.first() {
        let report = tenant.drain(GRACE).await;
        println!("{}: {} calls finished, {} were cancelled", tenant.name(), report.finished, report.cancelled);
        assert!(account.test().await.is_err());
    }
    // The process ends, so all other tenants are drained.
    let report = host.drain(GRACE).await;
    println!("{} calls finished, {} were cancelled", report.finished, report.cancelled);
    Ok(())
}

/// Creates a tenant and the account for its connection.
fn linked(connector: &Connector, file: &Path) -> Result<(Tenant, Account), Box<dyn Error>> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let limits = Limits::default().with_concurrent_calls(8).with_http_requests_per_second(50);
    let tenant = Tenant::new(TenantOptions::default().with_name(name).with_limits(limits))?;
    let connection: Connection = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let account = connector.account(&tenant, &connection);
    Ok((tenant, account))
}
