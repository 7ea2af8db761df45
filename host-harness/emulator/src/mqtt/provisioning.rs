//! A device at the provisioning service.

use std::collections::BTreeMap;

use mqtt_proto::v3::{Packet, Publish};
use mqtt_proto::{Pid, QosPid};
use serde_json::json;

use super::common::Limits;
use super::packets::{End, Packets};
use super::topics::{FromRegistrant, REGISTRATION_ANSWERS, registered};
use crate::clock::{now, rfc3339};
use crate::error::ServiceError;
use crate::operations::registration::{Proof, RETRY_AFTER, operation_status, register};
use crate::random;
use crate::world::Shared;

/// A connection of a device that registers.
pub(super) struct Registration<'a> {
    pub(super) world: Shared,
    pub(super) registration: String,
    pub(super) proof: Proof<'a>,
    pub(super) subscriptions: BTreeMap<String, u8>,
    /// The client id under which subscriptions are kept; `None` for a clean session.
    pub(super) kept_as: Option<String>,
}

impl Registration<'_> {
    pub(super) async fn converse(&mut self, packets: &mut Packets, limits: &mut Limits) -> Result<(), End> {
        loop {
            let packet = tokio::select! {
                packet = packets.read() => packet?,
                end = limits.reached() => return Err(end),
            };
            limits.heard();
            match packet {
                Packet::Publish(publish) => self.on_publish(packets, publish).await?,
                Packet::Subscribe(subscribe) => {
                    let known = |filter: &str| filter == REGISTRATION_ANSWERS;
                    super::common::subscribe(packets, &mut self.subscriptions, subscribe, known).await?;
                    self.keep();
                }
                Packet::Unsubscribe(unsubscribe) => {
                    for filter in &unsubscribe.topics {
                        self.subscriptions.remove(&**filter);
                    }
                    self.keep();
                    packets.write(&Packet::Unsuback(unsubscribe.pid)).await?;
                }
                Packet::Puback(_) => {}
                Packet::Pingreq => packets.write(&Packet::Pingresp).await?,
                Packet::Disconnect => return Err(End::Disconnect),
                other => return Err(End::refused(format!("{:?} is not allowed here", other.get_type()))),
            }
        }
    }

    fn keep(&self) {
        if let Some(client) = &self.kept_as {
            self.world.sessions.keep_subscriptions(client, Some(self.subscriptions.clone()));
        }
    }

    async fn on_publish(&mut self, packets: &mut Packets, publish: Publish) -> Result<(), End> {
        let unknown = || End::refused(format!("'{}' is not a topic of registrations", publish.topic_name));
        let call = registered(&publish.topic_name).ok_or_else(unknown)?;
        match publish.qos_pid {
            QosPid::Level0 => {}
            QosPid::Level1(pid) => packets.write(&Packet::Puback(pid)).await?,
            QosPid::Level2(_) => return Err(End::refused("QoS 2 is not supported")),
        }
        let (request, answer) = match &call {
            FromRegistrant::Register { request } => {
                let registered = register(&self.world, &self.registration, &self.proof);
                (request, registered.map(|(_, id)| (202, json!({ "operationId": id, "status": "assigning" }))))
            }
            FromRegistrant::Status { request, operation } => {
                let status = operation_status(&self.world, &self.registration, operation, &self.proof);
                (request, status.map(|body| (200, body)))
            }
        };
        let (status, body) = answer.unwrap_or_else(|error| failure(&error));
        let Some(qos) = self.subscriptions.get(REGISTRATION_ANSWERS) else { return Ok(()) };
        let retry = if status == 202 { format!("&retry-after={RETRY_AFTER}") } else { String::new() };
        let topic = format!("$dps/registrations/res/{status}/?$rid={request}{retry}");
        packets.publish(&topic, body.to_string(), (*qos > 0).then(Pid::default)).await
    }
}

/// The status and body of a refusal, in the form of the provisioning service.
fn failure(error: &ServiceError) -> (u16, serde_json::Value) {
    let body = json!({
        "errorCode": error.code().number(),
        "trackingId": random::hex(16),
        "message": error.message(),
        "timestampUtc": rfc3339(now()),
    });
    (error.status(), body)
}
