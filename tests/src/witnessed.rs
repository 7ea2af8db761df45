//! What the component delivers beside what another implementation read or sent: the scripts in `tests/witness` describe
//! events alike.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::interface::types::Cursor;
use connector_host::{Connection, Connector, Tenant};
use serde_json::Value;

use crate::faults::events::rfc3339;
use crate::faults::ledger::Delivery;
use crate::{TELEMETRY, delivery};

/// Everything that a partition has, oldest first, as the telemetry trigger delivers it to one warm instance.
///
/// # Errors
/// Those of the trigger.
pub async fn read_all(
    connector: &Connector,
    tenant: &Tenant,
    connection: &Connection,
    partition: &str,
) -> Result<Vec<Delivery>> {
    let instance = connector.open(tenant, connection).await?;
    let mut cursor: Option<Cursor> = None;
    let mut all = Vec::new();
    loop {
        let request = PollRequest {
            trigger: TELEMETRY.to_owned(),
            partition: partition.to_owned(),
            config: "{}".to_owned(),
            start: Start::Earliest,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events: 2_000, bytes: 8 << 20, wait_ms: 500 },
        };
        let page = instance.poll(&request).await?;
        if page.events.is_empty() && !page.more {
            return Ok(all);
        }
        for event in &page.events {
            ensure!(event.partition == partition, "{} is said to be of partition {}", event.id, event.partition);
            all.push(delivery(event)?);
        }
        cursor = Some(page.next);
    }
}

/// Compares deliveries of one partition with the lines of a witness: as many, in the same order, with the same content
/// byte for byte. Returns how many there are.
///
/// # Errors
/// The first difference.
pub fn compare(partition: u16, delivered: &[Delivery], witness: &[Value]) -> Result<usize> {
    let lines: Vec<&Value> = witness.iter().filter(|line| line["partition"] == partition).collect();
    ensure!(delivered.len() == lines.len(), "partition {partition}: {} of {} events", delivered.len(), lines.len());
    for (delivery, line) in delivered.iter().zip(lines) {
        same(delivery, line).with_context(|| format!("partition {partition}, event {}: {line}", delivery.id))?;
    }
    Ok(delivered.len())
}

fn same(delivery: &Delivery, line: &Value) -> Result<()> {
    let data = &delivery.data;
    ensure!(delivery.id == format!("{}-{}", line["partition"], line["sequence"]), "another id");
    ensure!(data["sequenceNumber"] == line["sequence"], "sequence number {}", data["sequenceNumber"]);
    ensure!(data["offset"] == line["offset"], "offset {}", data["offset"]);
    let enqueued = rfc3339(line["enqueued"].as_i64().context("the witness gives no time")?);
    ensure!(data["enqueuedTime"] == enqueued.as_str(), "enqueued {}", data["enqueuedTime"]);
    for name in ["contentType", "contentEncoding", "messageId", "correlationId"] {
        ensure!(data.get(name).unwrap_or(&Value::Null) == &line[name], "{name} {:?}", data.get(name));
    }
    ensure!(data["properties"] == line["properties"], "properties {}", data["properties"]);
    ensure!(data["systemProperties"] == line["annotations"], "system properties {}", data["systemProperties"]);
    let body = &data["body"];
    if line["kind"] != "data" {
        ensure!(data["bodyEncoding"] == "json" && *body == line["body"], "body {body}");
        return Ok(());
    }
    let text = || body.as_str().context("the body is not a string");
    let bytes = match data["bodyEncoding"].as_str() {
        Some("json") => body.to_string().into_bytes(),
        Some("text") => text()?.as_bytes().to_vec(),
        Some("base64") => STANDARD.decode(text()?)?,
        other => anyhow::bail!("body encoding {other:?}"),
    };
    let sent = STANDARD.decode(line["body"].as_str().context("the witness gives no bytes")?)?;
    ensure!(bytes == sent, "{} bytes of the body, {} were sent: {body}", bytes.len(), sent.len());
    Ok(())
}
