//! Many tenants in one process: each with limits and connections of its own, and an end in good order.
//!
//! ```sh
//! cargo run --package connector-host --example tenants -- COMPONENT CONNECTION...
//! ```
//! Each connection file is that of a tenant; the file's name is the tenant's.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use connector_host::{Account, Connection, Connector, Host, HostOptions, Limits, Tenant, TenantOptions};
use tokio::task::JoinSet;

/// What calls that run still have when the process ends.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().ok_or("usage: tenants COMPONENT CONNECTION...")?;
    // Bounds over all tenants; turns go to the tenant that has had the least.
    let host = Host::new(HostOptions::default().with_concurrent_calls(128).with_concurrent_exchanges(1_024))?;
    // Below these domains goes what tenants enter; state them for a connector whose author you do not trust.
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
            // One tenant's failure is no other's.
            (name, Err(error)) => println!("{name}: {error}"),
        }
    }

    // A tenant that leaves: no more calls of it, and its connections are closed.
    if let Some((tenant, account)) = tenants.first() {
        let report = tenant.drain(GRACE).await;
        println!("{}: {} calls finished, {} were cancelled", tenant.name(), report.finished, report.cancelled);
        assert!(account.test().await.is_err());
    }
    // The end of the process: all others.
    let report = host.drain(GRACE).await;
    println!("{} calls finished, {} were cancelled", report.finished, report.cancelled);
    Ok(())
}

/// A tenant, and the account that it linked.
fn linked(connector: &Connector, file: &Path) -> Result<(Tenant, Account), Box<dyn Error>> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let limits = Limits::default().with_concurrent_calls(8).with_http_requests_per_second(50);
    let tenant = Tenant::new(TenantOptions::default().with_name(name).with_limits(limits))?;
    let connection: Connection = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let account = connector.account(&tenant, &connection);
    Ok((tenant, account))
}
