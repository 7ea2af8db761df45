//! A device that is connected, and connects again when it must.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use mqtt_proto::Pid;
use mqtt_proto::v3::{Packet, Publish, Suback, SubscribeReturnCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::super::output::Output;
use super::super::signals::interrupted;
use super::super::{Done, Exit};
use super::https::HubApi;
use super::identity::Identity;
use super::line::{Line, content};
use super::message::{self, OnMessage};
use super::mqtt::{KEEP_ALIVE, Login, Mqtt, Refused};
use super::tls::Tls;
use super::topics::{
    DESIRED, Incoming, METHODS, TWIN_ANSWERS, device_bound, events, method_answer, twin_request, user,
};
use super::transport::Transport;
use super::upload::{Upload, upload};

/// The first and the longest pause before the device connects again.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the device does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) transport: Transport,
    /// The bodies of one round of messages.
    pub(super) bodies: Vec<Bytes>,
    /// How many rounds are sent; `None` sends without end.
    pub(super) rounds: Option<u64>,
    pub(super) every: Duration,
    pub(super) properties: Vec<(String, String)>,
    pub(super) content_type: String,
    pub(super) reports: Vec<Value>,
    pub(super) uploads: Vec<Upload>,
    /// The answers of direct methods by name: status and payload. Other methods answer 200 and their own payload.
    pub(super) methods: HashMap<String, (i64, Value)>,
    /// The methods that are never answered.
    pub(super) silent: HashSet<String>,
    pub(super) on_message: OnMessage,
    /// End as soon as everything is sent, reported and uploaded.
    pub(super) once: bool,
    /// End after this time.
    pub(super) lifetime: Option<Duration>,
}

/// A message that the hub has not acknowledged.
struct Sent {
    number: u64,
    id: String,
    topic: String,
    body: Bytes,
}

/// A request about the twin that the hub has not answered.
enum TwinRequest {
    Read,
    /// The index of the reported properties.
    Report(usize),
}

/// What runs beside the connection.
enum Aside {
    Line(Line),
    Uploaded(Line),
    Failed(anyhow::Error),
}

/// Why a connection cannot go on.
enum Fault {
    /// It broke. The device connects again.
    Broken(anyhow::Error),
    /// The command has failed.
    Exit(Exit),
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Exit> for Fault {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

struct Device<'a> {
    output: &'a Output,
    identity: &'a Identity,
    plan: &'a Plan,
    rounds_left: Option<u64>,
    /// How many messages were sent.
    messages: u64,
    /// What must be sent next.
    outbox: VecDeque<Sent>,
    unacknowledged: BTreeMap<u16, Sent>,
    /// The indices of the reported properties that the hub has not confirmed.
    unreported: Vec<usize>,
    uploads_left: usize,
    requests: HashMap<u64, TwinRequest>,
    last_request: u64,
    /// The packet id of the subscriptions.
    subscription: Option<Pid>,
    /// Whether the hub has granted the subscriptions.
    connected: bool,
    awaiting_pong: bool,
}

/// Runs until the plan is done, its time is over, or the program is interrupted.
pub(super) async fn run(output: &Output, hub: &HubApi<'_>, port: u16, plan: &Plan) -> Done {
    let HubApi { tls, identity, .. } = *hub;
    let (sender, mut asides) = mpsc::channel(16);
    let beside = beside(hub, plan, sender);
    let ending = ending(plan.lifetime);
    tokio::pin!(beside, ending);
    let mut rounds = interval(plan.every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut device = Device::new(output, identity, plan);
    let mut pause = SHORTEST_PAUSE;
    let mut first = true;
    loop {
        let connected = tokio::select! {
            () = &mut ending => return Ok(()),
            connected = connect(identity, tls, port, plan) => connected,
        };
        let error = match connected {
            Ok(mut mqtt) => {
                (first, pause) = (false, SHORTEST_PAUSE);
                let ended = tokio::select! {
                    ended = device.stay(&mut mqtt, &mut rounds, &mut asides) => ended,
                    never = &mut beside => match never {},
                    () = &mut ending => Ok(()),
                };
                match ended {
                    Err(Fault::Broken(error)) => error,
                    ended => {
                        mqtt.disconnect().await;
                        return match ended {
                            Err(Fault::Exit(exit)) => Err(exit),
                            _ => Ok(()),
                        };
                    }
                }
            }
            Err(error) if first || is_final(&error) => return Err(Exit::Failed(error)),
            Err(error) => error,
        };
        let text = format!("{error:#}; connecting again in {} s", pause.as_secs());
        Line::new("disconnected", json!({ "reason": format!("{error:#}") }), text).print(output)?;
        tokio::select! {
            () = &mut ending => return Ok(()),
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the hub will refuse the next attempt as well.
fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| !refused.may_pass())
}

/// Resolves when the program is interrupted, or after `lifetime`.
async fn ending(lifetime: Option<Duration>) {
    match lifetime {
        None => interrupted().await,
        Some(lifetime) => drop(timeout(lifetime, interrupted()).await),
    }
}

/// Uploads files, and receives messages over HTTPS if MQTT cannot settle them as planned.
async fn beside(hub: &HubApi<'_>, plan: &Plan, asides: mpsc::Sender<Aside>) -> Infallible {
    // Sending fails only if the device has ended, and then nobody reads the line.
    for file in &plan.uploads {
        let uploaded = upload(hub, file).await;
        let _ = asides.send(uploaded.map_or_else(Aside::Failed, Aside::Uploaded)).await;
    }
    while hub.identity.module.is_none() && !plan.on_message.by_mqtt() {
        match message::receive(hub, plan.on_message).await {
            Ok(message) => {
                // An abandoned message is there again at once.
                let pause = message.is_none() || plan.on_message == OnMessage::Abandon;
                if let Some(line) = message {
                    let _ = asides.send(Aside::Line(line)).await;
                }
                if pause {
                    sleep(message::PAUSE).await;
                }
            }
            Err(error) => {
                let _ = asides.send(Aside::Failed(error)).await;
                break;
            }
        }
    }
    std::future::pending().await
}

async fn connect(identity: &Identity, tls: &Tls, port: u16, plan: &Plan) -> Result<Mqtt> {
    let host = identity.gateway.as_ref().unwrap_or(&identity.host);
    let stream = plan.transport.open(tls, host, port).await?;
    let login = Login {
        client_id: identity.name(),
        user: user(identity),
        password: identity.token(&identity.host)?,
        // A subscription that an earlier run left would take the messages that this run receives over HTTPS.
        clean: !plan.on_message.by_mqtt(),
    };
    Mqtt::connect(stream, login).await
}

impl<'a> Device<'a> {
    fn new(output: &'a Output, identity: &'a Identity, plan: &'a Plan) -> Self {
        Self {
            output,
            identity,
            plan,
            rounds_left: if plan.bodies.is_empty() { Some(0) } else { plan.rounds },
            messages: 0,
            outbox: VecDeque::new(),
            unacknowledged: BTreeMap::new(),
            unreported: (0..plan.reports.len()).collect(),
            uploads_left: plan.uploads.len(),
            requests: HashMap::new(),
            last_request: 0,
            subscription: None,
            connected: false,
            awaiting_pong: false,
        }
    }

    /// Subscribes, and then sends and answers until the plan is done.
    async fn stay(
        &mut self,
        mqtt: &mut Mqtt,
        rounds: &mut Interval,
        asides: &mut mpsc::Receiver<Aside>,
    ) -> Result<(), Fault> {
        (self.connected, self.awaiting_pong) = (false, false);
        self.requests.clear();
        let mut filters = vec![format!("{METHODS}#"), format!("{TWIN_ANSWERS}#"), format!("{DESIRED}#")];
        if self.identity.module.is_none() && self.plan.on_message.by_mqtt() {
            filters.push(format!("{}#", device_bound(self.identity)));
        }
        self.subscription = Some(mqtt.subscribe(&filters).await?);
        let mut pings = interval(KEEP_ALIVE / 2);
        pings.tick().await;
        while !self.is_done() {
            tokio::select! {
                packet = mqtt.next() => self.handle(mqtt, packet?, &filters).await?,
                _ = rounds.tick(), if self.connected && self.rounds_left != Some(0) => self.send_round(mqtt).await?,
                _ = pings.tick() => {
                    if std::mem::replace(&mut self.awaiting_pong, true) {
                        return Err(anyhow!("the hub does not answer").into());
                    }
                    mqtt.ping().await?;
                }
                Some(aside) = asides.recv() => match aside {
                    Aside::Line(line) => line.print(self.output)?,
                    Aside::Uploaded(line) => {
                        self.uploads_left -= 1;
                        line.print(self.output)?;
                    }
                    Aside::Failed(error) => return Err(Exit::Failed(error).into()),
                },
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.plan.once
            && self.connected
            && self.rounds_left == Some(0)
            && self.outbox.is_empty()
            && self.unacknowledged.is_empty()
            && self.requests.is_empty()
            && self.uploads_left == 0
    }

    async fn handle(&mut self, mqtt: &mut Mqtt, packet: Packet, filters: &[String]) -> Result<(), Fault> {
        match packet {
            Packet::Suback(Suback { pid, topics }) if Some(pid) == self.subscription => {
                let refused = filters.iter().zip(topics).find(|(_, code)| *code == SubscribeReturnCode::Failure);
                if let Some((filter, _)) = refused {
                    return Err(Exit::Failed(anyhow!("the hub refused the subscription to {filter}")).into());
                }
                self.begin(mqtt).await
            }
            Packet::Puback(pid) => {
                let Some(sent) = self.unacknowledged.remove(&pid.value()) else { return Ok(()) };
                let (kind, value) = content(&sent.body);
                let text = format!("#{} {value}", sent.number);
                let mut members = json!({ "number": sent.number, "messageId": sent.id });
                members[kind] = value;
                Ok(Line::new("sent", members, text).print(self.output)?)
            }
            Packet::Pingresp => {
                self.awaiting_pong = false;
                Ok(())
            }
            Packet::Publish(publish) => self.receive(mqtt, publish).await,
            _ => Ok(()),
        }
    }

    /// Does what comes first on each connection: reads the twin, reports, and sends again what was not acknowledged.
    async fn begin(&mut self, mqtt: &mut Mqtt) -> Result<(), Fault> {
        self.connected = true;
        let (host, device) = (&self.identity.host, self.identity.name());
        let members = json!({ "hub": host, "device": device });
        Line::new("connected", members, format!("{device} at {host}")).print(self.output)?;
        self.ask_twin(mqtt, "GET/", TwinRequest::Read, &Value::Null).await?;
        for index in self.unreported.clone() {
            let patch = &self.plan.reports[index];
            self.ask_twin(mqtt, "PATCH/properties/reported/", TwinRequest::Report(index), patch).await?;
        }
        for (_, sent) in std::mem::take(&mut self.unacknowledged).into_iter().rev() {
            self.outbox.push_front(sent);
        }
        Ok(self.send(mqtt).await?)
    }

    async fn ask_twin(&mut self, mqtt: &mut Mqtt, what: &str, request: TwinRequest, body: &Value) -> Result<()> {
        self.last_request += 1;
        self.requests.insert(self.last_request, request);
        // A request to read has a body, too; Microsoft's clients send one space.
        let body = if body.is_null() { " ".to_owned() } else { body.to_string() };
        mqtt.publish(&twin_request(what, self.last_request), body.into()).await?;
        Ok(())
    }

    async fn send_round(&mut self, mqtt: &mut Mqtt) -> Result<()> {
        self.rounds_left = self.rounds_left.map(|left| left - 1);
        for body in &self.plan.bodies {
            self.messages += 1;
            let id = format!("{}-{:x}-{}", self.identity.device, std::process::id(), self.messages);
            let system = [("$.mid", id.as_str()), ("$.ct", self.plan.content_type.as_str()), ("$.ce", "utf-8")];
            let own = self.plan.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let topic = events(self.identity, system.into_iter().chain(own));
            self.outbox.push_back(Sent { number: self.messages, id, topic, body: body.clone() });
        }
        self.send(mqtt).await
    }

    /// Sends what is in the outbox. If the connection breaks, the rest stays there for the next one.
    async fn send(&mut self, mqtt: &mut Mqtt) -> Result<()> {
        while let Some(sent) = self.outbox.front() {
            let pid = mqtt.publish(&sent.topic, sent.body.clone()).await?;
            self.unacknowledged.extend(self.outbox.pop_front().map(|sent| (pid.value(), sent)));
        }
        Ok(())
    }

    async fn receive(
        &mut self,
        mqtt: &mut Mqtt,
        Publish { topic_name, qos_pid, payload, .. }: Publish,
    ) -> Result<(), Fault> {
        let incoming = Incoming::read(&topic_name, &device_bound(self.identity));
        // The acknowledgement of a message to the device completes it.
        let is_message = matches!(incoming, Incoming::Message(_));
        if !is_message || self.plan.on_message == OnMessage::Complete {
            mqtt.acknowledge(qos_pid).await?;
        }
        match incoming {
            Incoming::Message(properties) => {
                message::line(properties, &payload, self.plan.on_message).print(self.output)?
            }
            Incoming::Method { name, request } => self.answer(mqtt, name, &request, &payload).await?,
            Incoming::TwinAnswer { status, request, version } => {
                self.twin_answer(status, request, version, &payload)?
            }
            Incoming::Desired { version } => {
                let (_, desired) = content(&payload);
                let members = json!({ "version": version, "desired": desired });
                Line::new("desired", members, desired.to_string()).print(self.output)?;
            }
            Incoming::Unknown => {
                let text = format!("unknown topic {topic_name}");
                Line::new("ignored", json!({ "topic": topic_name.to_string() }), text).print(self.output)?;
            }
        }
        Ok(())
    }

    async fn answer(&self, mqtt: &mut Mqtt, name: String, request: &str, payload: &Bytes) -> Result<(), Fault> {
        let (_, asked) = if payload.is_empty() { ("", Value::Null) } else { content(payload) };
        if self.plan.silent.contains(&name) {
            let members = json!({ "name": name, "payload": asked, "answered": false });
            return Ok(Line::new("method", members, format!("{name} {asked} (not answered)")).print(self.output)?);
        }
        let (status, reply) = self.plan.methods.get(&name).cloned().unwrap_or((200, asked.clone()));
        mqtt.publish(&method_answer(status, request), reply.to_string().into()).await?;
        let text = format!("{name} {asked} (answered {status} {reply})");
        let members = json!({ "name": name, "payload": asked, "answered": true, "status": status, "response": reply });
        Ok(Line::new("method", members, text).print(self.output)?)
    }

    fn twin_answer(&mut self, status: u16, request: u64, version: Option<u64>, payload: &[u8]) -> Result<(), Fault> {
        let Some(request) = self.requests.remove(&request) else { return Ok(()) };
        let (_, body) = content(payload);
        if !(200..300).contains(&status) {
            let what = match request {
                TwinRequest::Read => "the twin could not be read",
                TwinRequest::Report(_) => "the reported properties were refused",
            };
            return Err(Exit::Failed(anyhow!("{what}: the hub answered {status} {body}")).into());
        }
        match request {
            TwinRequest::Read => {
                let (desired, reported) = (&body["desired"], &body["reported"]);
                let text = format!("desired {desired}, reported {reported}");
                Ok(Line::new("twin", json!({ "desired": desired, "reported": reported }), text).print(self.output)?)
            }
            TwinRequest::Report(index) => {
                self.unreported.retain(|left| *left != index);
                let patch = &self.plan.reports[index];
                let members = json!({ "version": version, "reported": patch });
                Ok(Line::new("reported", members, patch.to_string()).print(self.output)?)
            }
        }
    }
}
