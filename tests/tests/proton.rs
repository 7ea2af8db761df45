//! The component in the host reads from Apache Qpid Proton, an AMQP server that shares no code with the emulator.

#[path = "../native/proton.rs"]
mod proton;

use anyhow::{Context as _, Result, ensure};
use connector_host::{Limits, Tenant, TenantOptions, TrustRoots};
use connector_tests::witnessed::{compare, read_all};
use connector_tests::{TELEMETRY, connector, link};
use proton::{HUB, KEY, POLICY, Proton};
use serde_json::{Value, json};

const EVENTS_OF_A_PARTITION: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_component_reads_what_proton_sends() -> Result<()> {
    let proton = tokio::task::spawn_blocking(|| Proton::start(Some(EVENTS_OF_A_PARTITION))).await??;
    let connector = connector().await?;
    let mut options = TenantOptions::default();
    options.name = "tests".to_owned();
    options.limits = Limits::default();
    options.trust_roots = TrustRoots::Only(proton.ca.clone());
    options.allow_hosts = vec![format!("localhost:{}", proton.port).parse()?];
    options.allow_private_networks = true;
    let tenant = Tenant::new(options)?;
    let connection = link(json!({
        "iotHubName": "witness.azure-devices.net",
        "sharedAccessKeyName": POLICY,
        "sharedAccessKey": KEY,
        "eventHubEndpoint": format!("sb://localhost:{}/", proton.port),
        "eventHubPath": HUB,
        "trustedCertificates": proton.ca,
        "trustedHostSuffixes": ["localhost"],
    }));
    let partitions = connector.account(&tenant, &connection).partitions(TELEMETRY, "{}").await?;
    let ids: Vec<&str> = partitions.iter().map(|partition| partition.id.as_str()).collect();
    ensure!(ids == ["0", "1", "2", "3"], "{ids:?}");

    let sent: Vec<Value> = proton.sent()?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut compared = 0;
    for id in ids {
        let delivered =
            read_all(&connector, &tenant, &connection, id).await.with_context(|| format!("partition {id}"))?;
        compared += compare(id.parse()?, &delivered, &sent)?;
    }
    assert_eq!(compared, 4 * EVENTS_OF_A_PARTITION);
    Ok(())
}
