//! One tenant: uses all operations in turn, and checks all results.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::apart::EmulatedAccount;
use anyhow::{Context as _, Result, bail, ensure};
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::trigger::{Budget, LostPolicy, Page, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, ErrorCode, Retry};
use connector_host::{Account, CallError, Connection, Connector, Limits, Tenant};
use serde_json::{Value, json};

const TRIGGER: &str = "device-telemetry";
/// The largest number of polls in which the remaining events must arrive after the run.
const LAST_POLLS: usize = 200;

/// Counts over all tenants.
#[derive(Default)]
pub struct Tally {
    done: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    cut_off: AtomicU64,
    discarded: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    repeated: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Fails where a part of the soak never happened.
    ///
    /// # Errors
    /// The part that never happened.
    pub fn judge(&self) -> Result<()> {
        let parts = [
            ("call that went well", &self.done),
            ("call that was refused", &self.refused),
            ("call that failed by a fault", &self.failed),
            ("call that was cut off", &self.cut_off),
            ("instance that was discarded", &self.discarded),
            ("message that was sent", &self.sent),
            ("event that was received", &self.received),
        ];
        for (part, counter) in parts {
            ensure!(counter.load(Ordering::Relaxed) > 0, "there was no {part}");
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "calls: {} done, {} refused, {} failed by faults, {} cut off; {} instances discarded; events: {} sent, {} received, {} again",
            of(&self.done),
            of(&self.refused),
            of(&self.failed),
            of(&self.cut_off),
            of(&self.discarded),
            of(&self.sent),
            of(&self.received),
            of(&self.repeated)
        )
    }
}

/// A message that the tenant has sent.
#[derive(Clone, Copy, Default)]
struct Message {
    /// Whether the hub confirmed the message. Without a confirmation, the hub may or may not have it.
    taken: bool,
    received: bool,
}

impl Message {
    fn is_missing(self) -> bool {
        self.taken && !self.received
    }
}

/// A tenant with one device. It sends and receives that device's telemetry.
pub struct Subscriber {
    connector: Connector,
    tenant: Tenant,
    account: EmulatedAccount,
    stream: Option<Account>,
    cursor: Option<Cursor>,
    /// The messages by their numbers. An entry has only a few bytes, because growth of the process must be the host's.
    messages: Vec<Message>,
    /// The number in the twin's latest tags.
    number: u64,
    tally: Arc<Tally>,
    random: Random,
}

impl Subscriber {
    /// A tenant that has made no calls yet.
    ///
    /// # Errors
    /// Where the tenant cannot be set up.
    pub fn new(connector: &Connector, account: &EmulatedAccount, tally: &Arc<Tally>, seed: u64) -> Result<Self> {
        Ok(Self {
            connector: connector.clone(),
            tenant: account.tenant(Limits::default())?,
            account: account.clone(),
            stream: None,
            cursor: None,
            messages: Vec::new(),
            number: 0,
            tally: Arc::clone(tally),
            random: Random(seed),
        })
    }

    /// Makes calls until the run ends, then receives the messages that are still on their way.
    ///
    /// # Errors
    /// The broken promise.
    pub async fn run(mut self, ending: Arc<AtomicBool>) -> Result<()> {
        let mark = self.account.mark.clone();
        self.follow(ending).await.with_context(|| format!("{mark}*"))
    }

    async fn follow(&mut self, ending: Arc<AtomicBool>) -> Result<()> {
        // The trigger starts before the first message is sent, so it must deliver every message.
        self.poll(0).await?;
        while self.cursor.is_none() {
            self.poll(0).await?;
        }
        while !ending.load(Ordering::Relaxed) {
            self.step().await?;
            let pause = self.random.below(400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        for _ in 0..LAST_POLLS {
            if !self.messages.iter().any(|message| message.is_missing()) {
                break;
            }
            self.poll(500).await?;
        }
        let numbered = self.messages.iter().enumerate();
        let lost: Vec<usize> = numbered.filter(|(_, message)| message.is_missing()).map(|(number, _)| number).collect();
        ensure!(lost.is_empty(), "the hub accepted messages that were never delivered: {lost:?}");
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        let device = self.account.device.clone();
        match self.random.below(12) {
            0 | 1 => self.send().await?,
            2..=4 => self.poll(0).await?,
            5 => {
                if let Some(found) = self.act("get-device", json!({ "deviceId": device })).await? {
                    ensure!(found["deviceId"] == device.as_str(), "the answer is about another device: {found}");
                }
            }
            6 => {
                self.number += 1;
                let tags = json!({ "owner": self.account.mark, "number": self.number });
                let patch = json!({ "deviceId": device, "tags": tags });
                if let Some(twin) = self.act("update-twin", patch).await? {
                    ensure!(twin["tags"] == tags, "the answer is about another twin: {twin}");
                }
            }
            7 => {
                let payload = json!({ "asked": format!("{}{}", self.account.mark, self.random.next()) });
                let input = json!({ "deviceId": device, "methodName": "echo", "payload": payload });
                if let Some(answer) = self.act("invoke-direct-method", input).await? {
                    ensure!(answer["payload"] == payload, "the method has another answer: {answer}");
                }
            }
            8 => {
                let own = format!("{}{}", self.account.mark, self.random.below(5));
                let input = json!({ "deviceId": own, "ifExists": "keep" });
                self.act("create-device", input).await?;
                self.act("delete-device", json!({ "deviceId": own, "ifMissing": "ignore" })).await?;
            }
            9 => {
                let missing = format!("{}missing", self.account.mark);
                self.refused("get-device", json!({ "deviceId": missing }), ErrorCode::NotFound).await?;
                self.refused(
                    "update-twin",
                    json!({ "deviceId": device, "tags": { "a.b": 1 } }),
                    ErrorCode::InvalidInput,
                )
                .await?;
            }
            10 => self.cut_off(&device).await?,
            _ => {
                if let Some(stream) = self.stream.take() {
                    stream.discard().await;
                    Tally::count(&self.tally.discarded);
                }
            }
        }
        Ok(())
    }

    /// Sends a message as the device.
    async fn send(&mut self) -> Result<()> {
        let number = self.messages.len();
        // Noted before the call, because the hub may accept the message even if the call fails.
        self.messages.push(Message::default());
        let body = json!({ "owner": self.account.mark, "number": number });
        let input = json!({ "deviceId": self.account.device, "body": body });
        if self.act("send-device-to-cloud-message", input).await?.is_some() {
            self.messages[number].taken = true;
            Tally::count(&self.tally.sent);
        }
        Ok(())
    }

    /// Calls an action. `None` where it failed because of a fault.
    async fn act(&self, action: &str, input: Value) -> Result<Option<Value>> {
        let call = Call::default();
        let answered = self
            .connector
            .account(&self.tenant, &self.account.connection)
            .invoke(action, &input.to_string(), &call)
            .await;
        match answered {
            Ok(Outcome::Done(output)) => {
                self.own(&output)?;
                Tally::count(&self.tally.done);
                Ok(Some(serde_json::from_str(&output)?))
            }
            Ok(other) => bail!("{action} answered {other:?}"),
            Err(error) => self.by_a_fault(action, &error).map(|()| None),
        }
    }

    async fn refused(&self, action: &str, input: Value, expected: ErrorCode) -> Result<()> {
        let call = Call::default();
        let answered = self
            .connector
            .account(&self.tenant, &self.account.connection)
            .invoke(action, &input.to_string(), &call)
            .await;
        match answered {
            Err(error) if error.connector().is_some_and(|error| error.code == expected) => {
                self.own(&format!("{error:?}"))?;
                Tally::count(&self.tally.refused);
                Ok(())
            }
            Err(error) => self.by_a_fault(action, &error),
            Ok(answer) => bail!("{action} answered {answer:?} to {input}"),
        }
    }

    /// Ends a call early, by a deadline or by dropping it.
    async fn cut_off(&mut self, device: &str) -> Result<()> {
        let input = json!({ "deviceId": device, "methodName": "echo", "payload": self.account.mark }).to_string();
        let after = Duration::from_millis(1 + self.random.below(20));
        let call = Call::default();
        if self.random.below(2) == 0 {
            let hurried = self.tenant.with_deadline(after);
            let _ = self
                .connector
                .account(&hurried, &self.account.connection)
                .invoke("invoke-direct-method", &input, &call)
                .await;
        } else {
            let connection: &Connection = &self.account.connection;
            let account = self.connector.account(&self.tenant, connection);
            let running = account.invoke("invoke-direct-method", &input, &call);
            let _ = tokio::time::timeout(after, running).await;
        }
        Tally::count(&self.tally.cut_off);
        Ok(())
    }

    /// Polls the trigger once, and commits the page.
    async fn poll(&mut self, wait_ms: u64) -> Result<()> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => match self.connector.open(&self.tenant, &self.account.connection).await {
                Ok(stream) => stream,
                Err(error) => return self.by_a_fault("open", &error),
            },
        };
        let request = PollRequest {
            trigger: TRIGGER.to_owned(),
            partition: self.account.partition.clone(),
            config: json!({
                "consumerGroup": self.account.consumer_group,
                "deviceIds": [format!("{}*", self.account.mark)],
            })
            .to_string(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor: self.cursor.clone(),
            budget: Budget { events: 50, bytes: 1 << 20, wait_ms },
        };
        let polled = stream.poll(&request).await;
        self.stream = Some(stream);
        match polled {
            Ok(page) => self.commit(page),
            Err(error) => self.by_a_fault("poll", &error),
        }
    }

    fn commit(&mut self, page: Page) -> Result<()> {
        for event in &page.events {
            let Payload::Json(data) = &event.data else { bail!("the event's data is not JSON: {event:?}") };
            self.own(data)?;
            let data: Value = serde_json::from_str(data)?;
            ensure!(
                data["body"]["owner"] == self.account.mark.as_str(),
                "an event of another tenant was delivered: {data}"
            );
            let number = data["body"]["number"].as_u64().context("an event without a number")?;
            let message = usize::try_from(number).ok().and_then(|number| self.messages.get_mut(number));
            let message = message.with_context(|| format!("a message was delivered that was never sent: {number}"))?;
            let again = std::mem::replace(&mut message.received, true);
            Tally::count(if again { &self.tally.repeated } else { &self.tally.received });
        }
        self.cursor = Some(page.next);
        Ok(())
    }

    /// Fails where no fault can be the cause of the error.
    fn by_a_fault(&self, what: &str, error: &CallError) -> Result<()> {
        self.own(&format!("{error:?}"))?;
        let passes = error.connector().is_some_and(|error| {
            !matches!(error.retry, Retry::Never | Retry::AfterReauthentication | Retry::AfterReconfiguration)
        });
        let passes = passes || matches!(error, CallError::Occupied { .. });
        ensure!(passes, "{what} failed: {error}");
        Tally::count(&self.tally.failed);
        Ok(())
    }

    /// Fails where a text holds the mark of another tenant.
    fn own(&self, text: &str) -> Result<()> {
        for (at, _) in text.match_indices("tenant-") {
            let found = text.get(at..).unwrap_or_default();
            let numbered = found.as_bytes().get(7..11).is_some_and(|four| four.iter().all(u8::is_ascii_digit));
            // A policy's name is the mark without its last character.
            ensure!(
                !numbered || found.starts_with(self.account.mark.trim_end_matches('-')),
                "a text with the mark of another tenant came: {text}"
            );
        }
        Ok(())
    }
}

/// SplitMix64. The same seed repeats the choices of a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
