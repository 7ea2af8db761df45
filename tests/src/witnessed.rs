//! Compares the events of the component with those that another implementation read or sent. The scripts in
//! `tests/witness` describe events in the same form.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::interface::types::Cursor;
use connector_host::{Connection, Connector, Tenant};
use serde_json::Value;

use crate::faults::events::rfc3339;
use crate::faults::ledger::{Delivery, is_log_id};
use crate::{TELEMETRY, delivery};

/// All events of a partition, oldest first, as the telemetry trigger delivers them to one warm instance.
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
            ensure!(event.partition == partition, "the event {} states the partition {}", event.id, event.partition);
            all.push(delivery(event)?);
        }
        cursor = Some(page.next);
    }
}

/// Compares deliveries of one partition with the lines of a witness: their number, their order and every byte of their
/// content must be equal. Returns the number of deliveries.
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
    let (log, id) = delivery.id.split_once('-').context("the event's id has no log id")?;
    ensure!(is_log_id(log) && id == format!("{}-{}", line["partition"], line["sequence"]), "another id");
    ensure!(data["sequenceNumber"] == line["sequence"], "sequence number {}", data["sequenceNumber"]);
    ensure!(data["offset"] == line["offset"], "offset {}", data["offset"]);
    let enqueued = rfc3339(line["enqueued"].as_i64().context("the witness states no time")?);
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
    let sent = STANDARD.decode(line["body"].as_str().context("the witness states no bytes")?)?;
    ensure!(bytes == sent, "{} bytes of the body, {} were sent: {body}", bytes.len(), sent.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(sequence: i64, kind: &str, body: Value) -> Value {
        json!({
            "partition": 2, "sequence": sequence, "offset": "8", "enqueued": 1_700_000_000_250_i64, "kind": kind,
            "body": body, "contentType": "application/json", "contentEncoding": null, "messageId": "m",
            "correlationId": null, "properties": { "a": "b" }, "annotations": { "iothub-message-source": "Telemetry" },
        })
    }

    fn delivery(sequence: i64, encoding: &str, body: Value) -> Delivery {
        let data = json!({
            "sequenceNumber": sequence, "offset": "8", "enqueuedTime": "2023-11-14T22:13:20.250Z", "body": body,
            "bodyEncoding": encoding, "contentType": "application/json", "messageId": "m", "properties": { "a": "b" },
            "systemProperties": { "iothub-message-source": "Telemetry" },
        });
        Delivery { id: format!("0123456789ab-2-{sequence}"), data }
    }

    fn both() -> (Vec<Delivery>, Vec<Value>) {
        let delivered = vec![
            delivery(4, "json", json!({ "n": 1 })),
            delivery(5, "base64", "AAE=".into()),
            delivery(6, "text", "é".into()),
            delivery(7, "json", json!([1, null])),
        ];
        let lines = vec![
            line(4, "data", STANDARD.encode(r#"{"n":1}"#).into()),
            line(5, "data", "AAE=".into()),
            line(6, "data", STANDARD.encode("é").into()),
            line(7, "sequence", json!([1, null])),
            json!({ "partition": 3 }),
        ];
        (delivered, lines)
    }

    #[test]
    fn what_is_the_same_is_taken_for_it() {
        let (delivered, lines) = both();
        assert_eq!(compare(2, &delivered, &lines).expect("they are the same"), 4);
    }

    #[test]
    fn every_difference_is_noticed() {
        let doctor = |change: &dyn Fn(&mut Vec<Delivery>)| {
            let (mut delivered, lines) = both();
            change(&mut delivered);
            assert!(compare(2, &delivered, &lines).is_err(), "{delivered:?}");
        };
        doctor(&|all| drop(all.pop()));
        doctor(&|all| all.swap(0, 1));
        doctor(&|all| all.push(all[3].clone()));
        doctor(&|all| all[0].data["body"]["n"] = 2.into());
        doctor(&|all| all[1].data["body"] = "AAA=".into());
        doctor(&|all| all[2].data["body"] = "e".into());
        doctor(&|all| all[3].data["body"] = json!([1]));
        for name in
            ["offset", "enqueuedTime", "contentType", "contentEncoding", "messageId", "correlationId", "bodyEncoding"]
        {
            doctor(&|all| all[2].data[name] = "other".into());
        }
        doctor(&|all| all[2].data["properties"]["more"] = 1.into());
        doctor(&|all| all[2].data["systemProperties"] = json!({}));
        doctor(&|all| all[2].id.push('1'));
    }
}
