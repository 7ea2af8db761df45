//! The connector's AMQP client as native code, against Apache Qpid Proton over OpenSSL: two implementations that share
//! no code.

mod proton;
mod system;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_iot_connector::amqp_transport::AmqpTransport;
use azure_iot_connector::auth::SharedAccessKey;
use azure_iot_connector::error::ErrorCode;
use azure_iot_connector::eventhub::{
    Access, Endpoint, EventBody, EventHub, ReadBudget, ReceiverOptions, Roots, StartPosition,
};
use azure_iot_connector::platform::Platform as _;
use azure_iot_connector::secret::Secret;
use proton::{HUB, KEY, POLICY, Proton};
use serde_json::json;
use system::System;

const EVENTS: i64 = 703;

trait Connect {
    fn endpoint(&self) -> Endpoint;
    fn connect<'p>(&self, platform: &'p System, key: &str) -> azure_iot_connector::error::Result<EventHub<'p>>;
}

impl Connect for Proton {
    fn endpoint(&self) -> Endpoint {
        Endpoint { host: "localhost".into(), port: self.port, transport: AmqpTransport::Tcp, hub: HUB.into() }
    }

    fn connect<'p>(&self, platform: &'p System, key: &str) -> azure_iot_connector::error::Result<EventHub<'p>> {
        let key = SharedAccessKey { policy: POLICY.into(), key: Secret::new(key) };
        let deadline = platform.monotonic() + Duration::from_secs(30);
        EventHub::connect(platform, &self.endpoint(), &Access::Claim(key), Roots::Pem(&self.ca), deadline)
    }
}

fn budget(events: usize) -> ReadBudget {
    ReadBudget { events, bytes: 64 << 20, wait: Duration::from_secs(5) }
}

fn from(position: StartPosition) -> ReceiverOptions {
    ReceiverOptions::new("$Default", "0", position)
}

#[test]
fn a_partition_is_read_from_another_implementation() -> Result<()> {
    let witness = Proton::start(None)?;
    let platform = System(Instant::now());
    let mut hub = witness.connect(&platform, KEY)?;

    // The partitions of the Event Hub.
    ensure!(hub.properties()?.partition_ids == ["0", "1"]);
    let partition = hub.partitions(&["0".to_owned()])?.remove(0);
    ensure!(partition.last_enqueued_sequence_number == EVENTS - 1 && !partition.is_empty, "{partition:?}");
    ensure!(hub.partitions(&["1".to_owned()])?[0].is_empty);
    ensure!(hub.partitions(&["7".to_owned()]).is_err_and(|error| error.code() == ErrorCode::NotFound));

    // All events: more than the prefetch, and some messages larger than a frame.
    let mut receiver = hub.receiver(&from(StartPosition::Earliest))?;
    let mut events = Vec::new();
    while events.len() < usize::try_from(EVENTS)? {
        let more = hub.receive(&mut receiver, budget(200))?;
        ensure!(!more.is_empty(), "only {} events came", events.len());
        events.extend(more);
    }
    ensure!(events.iter().map(|event| event.sequence_number).eq(0..EVENTS), "in order, each once");
    let first = &events[0];
    ensure!(first.body == EventBody::Data(br#"{"n":0}"#.to_vec()));
    ensure!(first.offset == "0" && first.message_id.as_deref() == Some("m0"));
    ensure!(first.system_properties.text("iothub-connection-device-id") == Some("press-1"));
    let application = first.application_properties.to_map();
    ensure!(application["count"] == u64::MAX && application["since"] == 5);
    ensure!(matches!(&events[700].body, EventBody::Data(bytes) if bytes.len() == 256_000 && bytes[255] == 255));
    ensure!(events[701].body == EventBody::Value(json!({ "temperature": 21.5, "level": "hot" })));
    ensure!(events[702].body == EventBody::Sequence(vec![json!("a"), json!(1), json!(true)]));

    // No more events arrive. The peer's idle time-out of one or two seconds passes during this wait.
    let quiet = ReadBudget { wait: Duration::from_secs(5), ..budget(1) };
    ensure!(hub.receive(&mut receiver, quiet)?.is_empty());
    hub.close();

    // Reading from start positions of every kind.
    for (position, expected) in [
        (StartPosition::SequenceNumber { number: 690, inclusive: true }, 690),
        (StartPosition::SequenceNumber { number: 690, inclusive: false }, 691),
        (StartPosition::Offset { offset: "650000".into(), inclusive: false }, 651),
        (StartPosition::EnqueuedTime { ms: 1_700_000_600_000, inclusive: true }, 600),
    ] {
        let mut hub = witness.connect(&platform, KEY)?;
        let mut receiver = hub.receiver(&from(position.clone()))?;
        let event = hub.receive(&mut receiver, budget(1))?.into_iter().next().context("an event")?;
        ensure!(event.sequence_number == expected, "{position:?}: {}", event.sequence_number);
        hub.close();
    }
    let mut hub = witness.connect(&platform, KEY)?;
    let mut receiver = hub.receiver(&from(StartPosition::Latest))?;
    ensure!(hub.receive(&mut receiver, ReadBudget { wait: Duration::from_millis(300), ..budget(1) })?.is_empty());
    hub.close();
    Ok(())
}

#[test]
fn refusals_of_another_implementation_are_typed() -> Result<()> {
    let witness = Proton::start(None)?;
    let platform = System(Instant::now());
    let code = |error: azure_iot_connector::error::Error| error.code();

    let wrong = witness.connect(&platform, "d3Jvbmcga2V5").err().context("a wrong key is refused")?;
    ensure!(wrong.code() == ErrorCode::AuthFailed && wrong.status() == Some(401), "{wrong}");
    let fault = wrong.record().service.clone().context("what the service said")?;
    ensure!(fault.tracking_id.as_deref() == Some("7f3a_G1"));

    let untrusted = EventHub::connect(
        &platform,
        &witness.endpoint(),
        &Access::Claim(SharedAccessKey { policy: POLICY.into(), key: Secret::new(KEY) }),
        Roots::WebPki,
        platform.monotonic() + Duration::from_secs(10),
    );
    ensure!(untrusted.err().map(code) == Some(ErrorCode::Unavailable));

    let mut hub = witness.connect(&platform, KEY)?;
    let lost = hub.receiver(&from(StartPosition::Offset { offset: "999999999".into(), inclusive: false }));
    let lost = lost.and_then(|mut receiver| hub.receive(&mut receiver, budget(1)));
    ensure!(lost.err().map(code) == Some(ErrorCode::PositionLost));
    let options = ReceiverOptions { consumer_group: "nobody".into(), ..from(StartPosition::Earliest) };
    let unknown = hub.receiver(&options).and_then(|mut receiver| hub.receive(&mut receiver, budget(1)));
    ensure!(unknown.err().map(code) == Some(ErrorCode::NotFound));

    // A reader with a higher owner level takes the partition over.
    let mut receiver = hub.receiver(&ReceiverOptions { owner_level: Some(1), ..from(StartPosition::Latest) })?;
    let mut other = witness.connect(&platform, KEY)?;
    let mut new_owner = other.receiver(&ReceiverOptions { owner_level: Some(2), ..from(StartPosition::Earliest) })?;
    ensure!(!other.receive(&mut new_owner, budget(1))?.is_empty());
    let stolen = hub.receive(&mut receiver, budget(1)).err().map(code);
    ensure!(stolen == Some(ErrorCode::ConsumerConflict), "{stolen:?}");
    Ok(())
}
