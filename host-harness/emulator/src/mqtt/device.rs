//! A device or module at the hub.

use std::collections::BTreeMap;

use mqtt_proto::v3::{LastWill, Packet, Publish};
use mqtt_proto::{Pid, QosPid};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::common::{Limits, fault, subscribe};
use super::packets::{End, Packets};
use super::properties::{device_bound_topic, telemetry};
use super::topics::{Filter, FromDevice, published, subscribed};
use crate::clock::{now, rfc3339};
use crate::error::{ErrorCode, ServiceError};
use crate::operations::connections::DeviceLink;
use crate::operations::receiving::Settlement;
use crate::random;
use crate::sessions::ToDevice;
use crate::world::Shared;

/// A connection of a device or module.
pub(super) struct Device {
    world: Shared,
    link: DeviceLink,
    model: Option<String>,
    subscriptions: BTreeMap<String, u8>,
    /// The client id under which subscriptions are kept; `None` for a clean session.
    kept_as: Option<String>,
    /// The lock tokens of messages that the device has not acknowledged, by packet id.
    unacknowledged: BTreeMap<u16, String>,
    last_pid: u16,
}

impl Device {
    pub(super) fn new(
        world: Shared,
        link: DeviceLink,
        model: Option<String>,
        subscriptions: BTreeMap<String, u8>,
        kept_as: Option<String>,
    ) -> Self {
        Self { world, link, model, subscriptions, kept_as, unacknowledged: BTreeMap::new(), last_pid: 0 }
    }

    pub(super) async fn converse(
        &mut self,
        packets: &mut Packets,
        mut received: UnboundedReceiver<ToDevice>,
        limits: &mut Limits,
    ) -> Result<(), End> {
        self.link.accept_methods(self.granted(Filter::Methods).is_some());
        self.send_messages(packets).await?;
        loop {
            tokio::select! {
                packet = packets.read() => {
                    let packet = packet?;
                    limits.heard();
                    self.on_packet(packets, packet).await?;
                }
                Some(notice) = received.recv() => self.on_notice(packets, notice).await?,
                end = limits.reached() => return Err(end),
            }
        }
    }

    /// Sends the will, as telemetry that says what it is.
    pub(super) fn leave_will(&self, will: &LastWill) {
        let Some(FromDevice::Telemetry { properties }) = published(self.link.target(), &will.topic_name) else {
            return;
        };
        let mut event = telemetry(&properties, will.message.clone());
        event.properties.push(("iothub-MessageType".to_owned(), "Will".to_owned()));
        if let Err(error) = self.link.send(event) {
            tracing::debug!(%error, "the will of a device was refused");
        }
    }

    /// The QoS with which the device has subscribed to a filter.
    fn granted(&self, wanted: Filter) -> Option<u8> {
        let target = self.link.target();
        self.subscriptions.iter().find(|(filter, _)| subscribed(target, filter) == Some(wanted)).map(|(_, qos)| *qos)
    }

    async fn on_packet(&mut self, packets: &mut Packets, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.on_publish(packets, publish).await,
            Packet::Puback(pid) => {
                // An acknowledgement of a method or an answer needs nothing more.
                if let Some(token) = self.unacknowledged.remove(&pid.value())
                    && let Err(error) = self.link.settle(&token, Settlement::Complete)
                {
                    tracing::debug!(%error, "a message could not be completed");
                }
                Ok(())
            }
            Packet::Subscribe(wanted) => {
                let target = self.link.target();
                let known = |filter: &str| subscribed(target, filter).is_some();
                subscribe(packets, &mut self.subscriptions, wanted, known).await?;
                self.on_subscriptions(packets).await
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.topics {
                    self.subscriptions.remove(&**filter);
                }
                packets.write(&Packet::Unsuback(unsubscribe.pid)).await?;
                self.on_subscriptions(packets).await
            }
            Packet::Pingreq => packets.write(&Packet::Pingresp).await,
            Packet::Disconnect => Err(End::Disconnect),
            other => Err(End::refused(format!("{:?} is not allowed here", other.get_type()))),
        }
    }

    async fn on_subscriptions(&mut self, packets: &mut Packets) -> Result<(), End> {
        if let Some(client) = &self.kept_as {
            self.world.sessions.keep_subscriptions(client, Some(self.subscriptions.clone()));
        }
        self.link.accept_methods(self.granted(Filter::Methods).is_some());
        self.send_messages(packets).await
    }

    async fn on_publish(&mut self, packets: &mut Packets, publish: Publish) -> Result<(), End> {
        let Publish { qos_pid, topic_name, payload, .. } = publish;
        if matches!(qos_pid, QosPid::Level2(_)) {
            return Err(End::refused("QoS 2 is not supported"));
        }
        let topic = published(self.link.target(), &topic_name)
            .ok_or_else(|| End::refused(format!("'{topic_name}' is not a topic that this device may publish to")))?;
        match topic {
            FromDevice::Telemetry { properties } => {
                fault(&self.world, "PUBLISH", "/messages/events").await?;
                let mut event = telemetry(&properties, payload);
                event.model_id.clone_from(&self.model);
                self.link.send(event).map_err(|error| End::refused(error.to_string()))?;
                self.acknowledge(packets, qos_pid).await
            }
            FromDevice::MethodAnswer { status, request } => {
                let answer = if payload.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&payload) };
                match answer {
                    Ok(answer) => drop(self.link.answer_method(&request, status, answer)),
                    // The service then waits until its time-out.
                    Err(error) => tracing::debug!(%error, "the answer to a method is not JSON"),
                }
                self.acknowledge(packets, qos_pid).await
            }
            FromDevice::ReadTwin { request } => {
                self.acknowledge(packets, qos_pid).await?;
                let twin = self.link.read_twin().map(|twin| (200, None, Some(twin)));
                self.answer(packets, &request, twin).await
            }
            FromDevice::Report { request } => {
                self.acknowledge(packets, qos_pid).await?;
                let patch = serde_json::from_slice(&payload)
                    .map_err(|error| ServiceError::new(ErrorCode::FORMAT_ERROR, format!("not JSON: {error}")));
                let reported = patch.and_then(|patch| self.link.report(patch));
                self.answer(packets, &request, reported.map(|version| (204, Some(version), None))).await
            }
        }
    }

    async fn acknowledge(&self, packets: &mut Packets, qos_pid: QosPid) -> Result<(), End> {
        match qos_pid {
            QosPid::Level1(pid) => packets.write(&Packet::Puback(pid)).await,
            _ => Ok(()),
        }
    }

    /// Answers a request about the twin, if the device has subscribed to answers.
    async fn answer(
        &mut self,
        packets: &mut Packets,
        request: &str,
        answer: Result<(u16, Option<u64>, Option<Value>), ServiceError>,
    ) -> Result<(), End> {
        let Some(qos) = self.granted(Filter::TwinAnswers) else { return Ok(()) };
        let (status, version, body) = answer.unwrap_or_else(|error| {
            let body = json!({
                "errorCode": error.code().number(),
                "trackingId": random::hex(16),
                "message": error.message(),
                "timestampUtc": rfc3339(now()),
            });
            (error.status(), None, Some(body))
        });
        let version = version.map(|version| format!("&$version={version}")).unwrap_or_default();
        let topic = format!("$iothub/twin/res/{status}/?$rid={request}{version}");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.publish(packets, &topic, body, qos).await
    }

    async fn publish(&mut self, packets: &mut Packets, topic: &str, body: String, qos: u8) -> Result<(), End> {
        let pid = if qos > 0 { Some(self.next_pid()?) } else { None };
        packets.publish(topic, body, pid).await
    }

    async fn on_notice(&mut self, packets: &mut Packets, notice: ToDevice) -> Result<(), End> {
        match notice {
            ToDevice::Method { request, call } => {
                let Some(qos) = self.granted(Filter::Methods) else { return Ok(()) };
                let topic = format!("$iothub/methods/POST/{}/?$rid={request}", call.method);
                self.publish(packets, &topic, call.payload.to_string(), qos).await
            }
            ToDevice::Desired { version, patch } => {
                let Some(qos) = self.granted(Filter::Desired) else { return Ok(()) };
                let mut body = patch;
                if let Value::Object(members) = &mut body {
                    members.insert("$version".to_owned(), json!(version));
                }
                let topic = format!("$iothub/twin/PATCH/properties/desired/?$version={version}");
                self.publish(packets, &topic, body.to_string(), qos).await
            }
            ToDevice::MessageWaiting => self.send_messages(packets).await,
            ToDevice::Disconnect(why) => Err(End::refused(format!("the hub ended the connection: {why:?}"))),
        }
    }

    /// Sends the messages that wait for the device. QoS 0 completes a message at once.
    async fn send_messages(&mut self, packets: &mut Packets) -> Result<(), End> {
        let Some(qos) = self.granted(Filter::DeviceBound) else { return Ok(()) };
        while let Ok(Some(locked)) = self.link.receive() {
            let topic = device_bound_topic(self.link.target(), &locked);
            let pid = if qos > 0 { Some(self.next_pid()?) } else { None };
            if let Some(pid) = pid {
                self.unacknowledged.insert(pid.value(), locked.token.clone());
            }
            packets.publish(&topic, locked.message.body.clone(), pid).await?;
            if pid.is_none()
                && let Err(error) = self.link.settle(&locked.token, Settlement::Complete)
            {
                tracing::debug!(%error, "a message could not be completed");
            }
        }
        Ok(())
    }

    /// A packet id that no unacknowledged message has.
    fn next_pid(&mut self) -> Result<Pid, End> {
        loop {
            self.last_pid = self.last_pid.checked_add(1).unwrap_or(1);
            if !self.unacknowledged.contains_key(&self.last_pid) {
                return Ok(Pid::try_from(self.last_pid)?);
            }
        }
    }
}
