//! The AMQP endpoints, as an independent client sees them.

#[path = "common/amqp.rs"]
mod amqp;
mod common;

use std::time::{Duration, Instant};

use amqp::{
    Client, EARLIEST, Reader, annotation, by_name, by_number, closing_error, event_hub_audience, event_hub_token,
    numbers, partition_address, tls, within,
};
use azure_iot_emulator::{
    AmqpOptions, Emulator, EmulatorOptions, EventBody, EventSource, FileUpload, PayloadKind, Simulator,
    SimulatorOptions, TelemetryEvent, TelemetryMessage,
};
use common::{hub, start, start_with};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::{Receiver, Sender};
use fe2o3_amqp_types::messaging::{ApplicationProperties, Body, Message, Outcome, Properties};
use fe2o3_amqp_types::primitives::{SimpleValue, Timestamp};
use serde_amqp::Value;
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const START: i64 = 1_700_000_000;

/// Events on partition 0, one a second from [`START`] on.
fn fill(emulator: &Emulator, count: i64) {
    let time = |n: i64| OffsetDateTime::from_unix_timestamp(START + n).expect("time");
    let events = (0..count).map(|n| TelemetryEvent::new("d", format!("event {n}")).partition(0).enqueued(time(n)));
    emulator.telemetry().send_all(events);
}

fn keep() -> EmulatorOptions {
    EmulatorOptions { retention_time: None, ..EmulatorOptions::default() }
}

async fn refusal(client: &mut Client, address: &str, reader: Reader<'_>) -> String {
    match client.reader(address, reader).await {
        Ok(mut receiver) => closing_error(&mut receiver).await,
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_reader_begins_where_its_selector_says() {
    let emulator = start_with(keep()).await;
    fill(&emulator, 20);
    let mut client = Client::event_hub(&emulator).await;
    let address = partition_address(&emulator, "$Default", 0);
    let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
    reader.set_credit(4).await.expect("credit");
    let mut last = None;
    for _ in 0..4 {
        let delivery = within(reader.recv::<Body<Value>>()).await.expect("message");
        last = annotation(delivery.message(), "x-opt-offset");
    }
    reader.close().await.expect("close");
    let Some(Value::String(offset)) = last else { panic!("an offset is text: {last:?}") };
    let time = (START + 10) * 1000;
    for (selector, first) in [
        (EARLIEST.to_owned(), 0),
        (format!("amqp.annotation.x-opt-offset > '{offset}'"), 4),
        (format!("amqp.annotation.x-opt-offset >= '{offset}'"), 3),
        ("amqp.annotation.x-opt-sequence-number >'7'".to_owned(), 8),
        ("amqp.annotation.x-opt-sequence-number >= '7'".to_owned(), 7),
        (format!("amqp.annotation.x-opt-enqueued-time > '{time}'"), 11),
        (format!("amqp.annotation.x-opt-enqueued-time >= '{time}'"), 10),
        (format!("amqp.annotation.x-opt-enqueuedtimeutc > {time}"), 11),
    ] {
        for descriptor in [Some(by_name()), Some(by_number()), None] {
            let reader = Reader { selector: Some(&selector), descriptor, ..Reader::default() };
            let addresses = [
                partition_address(&emulator, "$Default", 0),
                format!("amqps://example.servicebus.windows.net/{}", partition_address(&emulator, "$default", 0)),
            ];
            for address in addresses {
                let mut receiver = client.reader(&address, reader.clone()).await.expect("reader");
                assert_eq!(numbers(&mut receiver, 2).await, [first, first + 1], "{selector}");
                receiver.close().await.expect("close");
            }
        }
    }
    let address = partition_address(&emulator, "$Default", 0);
    let none = Reader { selector: None, ..Reader::default() };
    let mut receiver = client.reader(&address, none).await.expect("reader");
    assert_eq!(numbers(&mut receiver, 1).await, [0], "without a selector, reading starts at the beginning");
    let latest = Reader { selector: Some("amqp.annotation.x-opt-offset > '@latest'"), ..Reader::default() };
    let mut receiver = client.reader(&address, latest).await.expect("reader");
    emulator.telemetry().send(TelemetryEvent::new("d", "new").partition(0));
    assert_eq!(numbers(&mut receiver, 1).await, [20]);

    for (selector, condition) in [
        ("amqp.annotation.x-opt-offset > '999999'", "com.microsoft:argument-error"),
        ("amqp.annotation.x-opt-sequence-number > '999999'", "com.microsoft:argument-error"),
        ("amqp.annotation.colour > 'blue'", "InvalidField"),
    ] {
        let error = refusal(&mut client, &address, Reader { selector: Some(selector), ..Reader::default() }).await;
        assert!(error.contains(condition), "{selector}: {error}");
    }
}

#[tokio::test]
async fn retention_moves_the_beginning() {
    let emulator = start_with(EmulatorOptions { retention_events: Some(5), ..keep() }).await;
    fill(&emulator, 12);
    let telemetry = emulator.telemetry();
    let partition = telemetry.partition(0).expect("partition");
    assert_eq!((partition.begin_sequence_number, partition.last_sequence_number), (7, 11));
    let mut client = Client::event_hub(&emulator).await;
    let mut reader =
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    assert_eq!(numbers(&mut reader, 5).await, [7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn credit_is_honoured_and_drained() {
    let emulator = start_with(keep()).await;
    fill(&emulator, 10);
    let mut client = Client::event_hub(&emulator).await;
    let mut reader =
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    let nothing = tokio::time::timeout(Duration::from_millis(200), reader.recv::<Body<Value>>()).await;
    assert!(nothing.is_err(), "nothing comes without credit");
    assert_eq!(numbers(&mut reader, 3).await, [0, 1, 2]);
    let nothing = tokio::time::timeout(Duration::from_millis(200), reader.recv::<Body<Value>>()).await;
    assert!(nothing.is_err(), "nothing comes after the credit is used up");
    reader.set_credit(50).await.expect("credit");
    for _ in 3..10 {
        within(reader.recv::<Body<Value>>()).await.expect("message");
    }
    reader.drain().await.expect("drain");
    tokio::time::sleep(Duration::from_millis(300)).await;
    emulator.telemetry().send(TelemetryEvent::new("d", "later").partition(0));
    let nothing = tokio::time::timeout(Duration::from_millis(300), reader.recv::<Body<Value>>()).await;
    assert!(nothing.is_err(), "drained credit is gone");
    assert_eq!(numbers(&mut reader, 1).await, [10]);
}

#[tokio::test]
async fn an_epoch_takes_over_and_five_may_read_without() {
    let options = EmulatorOptions { consumer_groups: vec!["second".to_owned()], ..keep() };
    let emulator = start_with(options).await;
    fill(&emulator, 3);
    let address = partition_address(&emulator, "$Default", 0);
    let mut client = Client::event_hub(&emulator).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
        assert_eq!(numbers(&mut reader, 1).await, [0]);
        readers.push(reader);
    }
    assert_eq!(emulator.telemetry().readers("$Default", 0), 5);
    let error = refusal(&mut client, &address, Reader::default()).await;
    assert!(error.contains("ResourceLimitExceeded") && error.contains("which is 5"), "{error}");
    let mut other = client.reader(&partition_address(&emulator, "second", 0), Reader::default()).await.expect("reader");
    assert_eq!(numbers(&mut other, 1).await, [0], "another group has its own five");

    let mut second = Client::event_hub(&emulator).await;
    let mut owner = second.reader(&address, Reader { epoch: Some(7), ..Reader::default() }).await.expect("reader");
    assert_eq!(numbers(&mut owner, 1).await, [0]);
    for reader in &mut readers {
        let error = closing_error(reader).await;
        assert!(error.contains("Stolen") && error.contains("'7'"), "{error}");
    }
    for epoch in [None, Some(6)] {
        let error = refusal(&mut client, &address, Reader { epoch, ..Reader::default() }).await;
        assert!(error.contains("Stolen"), "{error}");
    }
    let mut same = client.reader(&address, Reader { epoch: Some(7), ..Reader::default() }).await.expect("reader");
    assert_eq!(numbers(&mut same, 1).await, [0]);
    assert!(closing_error(&mut owner).await.contains("Stolen"));
    drop(client);
    // A connection that ends frees its reader's slot.
    let deadline = Instant::now() + Duration::from_secs(10);
    while emulator.telemetry().readers("$Default", 0) > 0 {
        assert!(Instant::now() < deadline, "the slot is still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_there_is_not_is_not_found() {
    let emulator = start().await;
    let mut client = Client::event_hub(&emulator).await;
    for (address, condition) in [
        (partition_address(&emulator, "nobody", 0), "NotFound"),
        (partition_address(&emulator, "$Default", 4), "argument-out-of-range"),
        (partition_address(&emulator, "$Default", 0).replace("/0", "/x"), "argument-out-of-range"),
        ("other/ConsumerGroups/$Default/Partitions/0".to_owned(), "NotFound"),
        (emulator.event_hub_name(), "NotFound"),
    ] {
        let error = refusal(&mut client, &address, Reader::default()).await;
        assert!(error.contains(condition), "{address}: {error}");
    }
}

#[tokio::test]
async fn tokens_are_checked() {
    let options = EmulatorOptions { clock_tolerance: Duration::ZERO, ..EmulatorOptions::default() };
    let emulator = start_with(options).await;
    let audience = event_hub_audience(&emulator);
    let policy = emulator.hub_policy("service").expect("policy").clone();
    let host = emulator.event_hub_host();
    let mut client = Client::open(&emulator, &host, SaslProfile::Anonymous).await.expect("open");
    let good = event_hub_token(&audience, &policy, 60);
    let mut wrong_key = policy.clone();
    std::mem::swap(&mut wrong_key.primary_key, &mut wrong_key.secondary_key);
    let device = emulator.hub_policy("device").expect("policy");
    let elsewhere = event_hub_token("sb://evil.example/hub", &policy, 60);
    let iot_dialect = common::policy_token(&audience, &policy, 60);
    let stranger = good.replace("skn=service", "skn=stranger");
    for (token, part) in [
        (event_hub_token(&audience, &policy, -60), "ExpiredToken"),
        (event_hub_token(&audience, device, 60), "Listen"),
        (elsewhere, "InvalidAudience"),
        (iot_dialect, "InvalidSignature"),
        (stranger, "InvalidSignature"),
        (good.replace("se=", "se=1"), "InvalidSignature"),
        ("nonsense".to_owned(), "MalformedToken"),
        (event_hub_token(&format!("{audience}/ConsumerGroups"), &policy, 60), "InvalidAudience"),
    ] {
        let (status, description) = client.put_token(&audience, &token).await;
        assert!(status == 401 && description.contains(part), "{status} {description}");
    }
    let (status, _) = client.put_token("sb://localhost/other", &event_hub_token("sb://localhost", &policy, 60)).await;
    assert_eq!(status, 404);
    let (status, description) = client.put_token_of("jwt", &audience, "ey.ey.x").await;
    assert!(status == 401 && description.contains("Entra"), "{description}");
    let error = refusal(&mut client, &partition_address(&emulator, "$Default", 0), Reader::default()).await;
    assert!(error.contains("UnauthorizedAccess"), "{error}");

    // The second key is as valid as the first, and a token for the host is valid for every address below it.
    for token in [event_hub_token("sb://localhost", &wrong_key, 60), good] {
        let mut client = Client::open(&emulator, &host, SaslProfile::Anonymous).await.expect("open");
        assert_eq!(client.put_token(&audience, &token).await.0, 202);
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    }
}

#[tokio::test]
async fn an_expired_token_takes_its_links_along() {
    let options = EmulatorOptions { clock_tolerance: Duration::ZERO, ..EmulatorOptions::default() };
    let emulator = start_with(options).await;
    let audience = event_hub_audience(&emulator);
    let policy = emulator.hub_policy("service").expect("policy").clone();
    let address = partition_address(&emulator, "$Default", 0);
    let mut client = Client::open(&emulator, &emulator.event_hub_host(), SaslProfile::Anonymous).await.expect("open");
    client.put_token(&audience, &event_hub_token(&audience, &policy, 2)).await;
    let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
    let error = closing_error(&mut reader).await;
    assert!(error.contains("UnauthorizedAccess") && error.contains("ExpiredToken"), "{error}");
    // The connection stays open: a new token allows links again. A token that is renewed in time keeps its links
    // attached.
    client.put_token(&audience, &event_hub_token(&audience, &policy, 2)).await;
    let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
    client.put_token(&audience, &event_hub_token(&audience, &policy, 60)).await;
    tokio::time::sleep(Duration::from_millis(3200)).await;
    emulator.telemetry().send(TelemetryEvent::new("d", "x").partition(0));
    assert_eq!(numbers(&mut reader, 1).await, [0]);
    // A fault rule can expire a token at once.
    emulator.faults().add_text("eventhub:TRANSFER /*=expirex1").expect("rule");
    emulator.telemetry().send(TelemetryEvent::new("d", "x").partition(0));
    assert!(closing_error(&mut reader).await.contains("UnauthorizedAccess"));
}

#[tokio::test]
async fn sasl_plain_takes_a_key_or_a_token() {
    let emulator = start().await;
    let policy = emulator.hub_policy("service").expect("policy").clone();
    let host = emulator.event_hub_host();
    let plain = |username: &str, password: &str| SaslProfile::Plain {
        username: username.to_owned(),
        password: password.to_owned(),
    };
    let token = event_hub_token(&event_hub_audience(&emulator), &policy, 60);
    for password in [policy.primary_key.as_str(), policy.secondary_key.as_str(), token.as_str()] {
        let mut client = Client::open(&emulator, &host, plain("service", password)).await.expect("open");
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    }
    let device = emulator.hub_policy("device").expect("policy").primary_key.clone();
    for (user, password) in [("service", "wrong"), ("nobody", policy.primary_key.as_str()), ("device", &device)] {
        assert!(Client::open(&emulator, &host, plain(user, password)).await.is_err(), "{user}");
    }

    let hub_host = emulator.hub_amqp_host();
    let token = common::policy_token(&hub_host, &policy, 60);
    let mut client =
        Client::open(&emulator, &hub_host, plain("service@sas.root.localhost", &token)).await.expect("open");
    Sender::attach(&mut client.session, "s", "/messages/devicebound").await.expect("sender");
    for (user, password) in [
        ("service@sas.root.localhost", policy.primary_key.as_str()),
        ("service@sas.root.elsewhere", &token),
        ("service", &token),
        ("device@sas.root.localhost", &token),
    ] {
        assert!(Client::open(&emulator, &hub_host, plain(user, password)).await.is_err(), "{user}");
    }
}

#[tokio::test]
async fn management_answers() {
    let emulator = start_with(keep()).await;
    fill(&emulator, 4);
    let name = emulator.event_hub_name();
    let mut client = Client::event_hub(&emulator).await;
    let read = |kind: &'static str| vec![("operation", "READ"), ("type", kind)];
    let text = |value: &Value| format!("{value:?}");
    for node in ["$management".to_owned(), format!("{name}/$management")] {
        let mut properties = read("com.microsoft:eventhub");
        properties.push(("name", name.as_str()));
        let (status, _, body) = client.request(&node, &properties, Value::Null).await.expect("answer");
        assert_eq!(status, 200);
        assert!(text(&body).contains("partition_ids") && text(&body).contains("Array"), "{body:?}");
        let mut properties = read("com.microsoft:partition");
        properties.extend([("name", name.as_str()), ("partition", "0")]);
        let (_, _, body) = client.request(&node, &properties, Value::Null).await.expect("answer");
        let Value::Map(map) = body else { panic!("{body:?}") };
        let of = |name: &str| map.get(&Value::String(name.to_owned())).cloned().expect("member");
        assert_eq!(of("begin_sequence_number"), Value::Long(0));
        assert_eq!(of("last_enqueued_sequence_number"), Value::Long(3));
        assert_eq!(of("is_partition_empty"), Value::Bool(false));
        assert_eq!(of("last_enqueued_time_utc"), Value::Timestamp(Timestamp::from_milliseconds((START + 3) * 1000)));
        assert!(matches!(of("last_enqueued_offset"), Value::String(_)));
    }
    let mut properties = read("com.microsoft:eventhub");
    properties.push(("name", "other"));
    assert_eq!(client.request("$management", &properties, Value::Null).await.expect("answer").0, 404);
    let mut stranger = Client::open(&emulator, &emulator.event_hub_host(), SaslProfile::Anonymous).await.expect("open");
    let mut properties = read("com.microsoft:eventhub");
    properties.push(("name", name.as_str()));
    assert_eq!(stranger.request("$management", &properties, Value::Null).await.expect("answer").0, 401);
    let token = event_hub_token(&event_hub_audience(&emulator), emulator.hub_policy("service").expect("policy"), 60);
    properties.push(("security_token", &token));
    assert_eq!(stranger.request("$management", &properties, Value::Null).await.expect("answer").0, 200);
    emulator.faults().add_text("eventhub:READ /$management=503x1").expect("rule");
    assert_eq!(stranger.request("$management", &properties, Value::Null).await.expect("answer").0, 503);
}

#[tokio::test]
async fn bodies_of_every_kind_and_length_arrive() {
    let emulator = start_with(keep()).await;
    let long = vec![7_u8; 256 << 10];
    let bodies = [
        EventBody::Data("x".into()),
        EventBody::Data(long.clone().into()),
        EventBody::MultipleData(vec!["a".into(), "b".into()]),
        EventBody::Value(json!({"a": [1, "b", null]})),
        EventBody::Sequence(vec![vec![json!(1)], vec![json!("two")]]),
    ];
    emulator.telemetry().send_all(bodies.into_iter().map(|body| TelemetryEvent::new("d", body).partition(0)));
    let mut client = Client::event_hub(&emulator).await;
    let reader = Reader { metrics: true, ..Reader::default() };
    let mut reader = client.reader(&partition_address(&emulator, "$Default", 0), reader).await.expect("reader");
    reader.set_credit(10).await.expect("credit");
    let mut shapes = Vec::new();
    for _ in 0..5 {
        let delivery = within(reader.recv::<Body<Value>>()).await.expect("message");
        let message = delivery.into_message();
        let metrics = format!("{:?}", message.delivery_annotations);
        assert!(metrics.contains("last_enqueued_sequence_number") && metrics.contains("Long(4)"), "{metrics}");
        shapes.push(match message.body {
            Body::Data(sections) => {
                let sizes: Vec<_> = sections.into_iter().map(|section| section.0.len()).collect();
                format!("data {sizes:?}")
            }
            Body::Value(_) => "value".to_owned(),
            Body::Sequence(lists) => format!("sequence {}", lists.into_iter().count()),
            Body::Empty => "empty".to_owned(),
        });
    }
    assert_eq!(shapes, ["data [1]", "data [262144]", "data [1, 1]", "value", "sequence 2"]);
}

#[tokio::test]
async fn faults_strike_where_they_are_told() {
    let emulator = start_with(keep()).await;
    fill(&emulator, 500);
    let address = partition_address(&emulator, "$Default", 0);
    let faults = emulator.faults();
    for condition in [
        "com.microsoft:server-busy",
        "com.microsoft:timeout",
        "com.microsoft:operation-cancelled",
        "com.microsoft:container-close",
        "com.microsoft:entity-disabled",
        "amqp:link:transfer-limit-exceeded",
        "amqp:internal-error",
    ] {
        faults.add_text(&format!("eventhub:ATTACH /*/Partitions/0=detach:{condition}x1")).expect("rule");
        let mut client = Client::event_hub(&emulator).await;
        let error = refusal(&mut client, &address, Reader::default()).await;
        let last = condition.rsplit(':').next().unwrap_or_default().replace('-', "");
        assert!(error.to_lowercase().replace('-', "").contains(&last), "{condition}: {error}");
        let mut reader = client.reader(&address, Reader::default()).await.expect("the rule is spent");
        assert_eq!(numbers(&mut reader, 1).await, [0]);
    }
    // These rules fire in the middle of a stream of events, at a known position.
    for action in ["detach", "end", "close", "drop", "half", "garbage", "cut:1", "cut:4096"] {
        faults.clear();
        faults.add_text(&format!("eventhub:TRANSFER /*={action}~100x1")).expect("rule");
        let mut client = Client::event_hub(&emulator).await;
        let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
        reader.set_credit(500).await.expect("credit");
        let mut count = 0;
        while let Ok(delivery) = within(reader.recv::<Body<Value>>()).await {
            assert_eq!(amqp::sequence(delivery.message()), count);
            count += 1;
        }
        let slack = if action.starts_with("cut") { 100 } else { 0 };
        assert!((100 - slack..=100 + slack).contains(&count), "{action}: {count}");
    }
    faults.clear();
    faults.add_text("eventhub:CONNECT /=dropx1").expect("rule");
    let stream = tokio::net::TcpStream::connect(emulator.event_hub_host().replace("localhost", "127.0.0.1")).await;
    let mut stream = stream.expect("TCP");
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest).await;
    assert!(read.is_err() || rest.is_empty());
    faults.add_text("eventhub:PUT-TOKEN /=500x1").expect("rule");
    let mut client = Client::open(&emulator, &emulator.event_hub_host(), SaslProfile::Anonymous).await.expect("open");
    let audience = event_hub_audience(&emulator);
    let token = event_hub_token(&audience, emulator.hub_policy("service").expect("policy"), 60);
    assert_eq!(client.put_token(&audience, &token).await.0, 500);
    assert_eq!(client.put_token(&audience, &token).await.0, 202);
    faults.add_text("eventhub:TRANSFER /*=stallx1").expect("rule");
    let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
    reader.set_credit(1).await.expect("credit");
    let _ = tokio::time::timeout(Duration::from_millis(300), reader.recv::<Body<Value>>()).await;
    let nothing = tokio::time::timeout(Duration::from_millis(300), reader.recv::<Body<Value>>()).await;
    assert!(nothing.is_err(), "a stalled connection neither speaks nor ends");
}

#[tokio::test]
async fn chance_repeats_with_its_seed() {
    let mut counts = Vec::new();
    for _ in 0..2 {
        let emulator = start_with(EmulatorOptions { fault_seed: 42, ..keep() }).await;
        fill(&emulator, 300);
        emulator.faults().add_text("eventhub:TRANSFER /*=detach@0.02").expect("rule");
        let mut client = Client::event_hub(&emulator).await;
        let mut reader =
            client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
        reader.set_credit(300).await.expect("credit");
        let mut count = 0;
        while within(reader.recv::<Body<Value>>()).await.is_ok() {
            count += 1;
        }
        counts.push(count);
    }
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0] < 300);
}

#[tokio::test]
async fn idle_links_and_connections_end() {
    let amqp = AmqpOptions {
        idle_time_out: Some(Duration::from_millis(300)),
        link_idle: Some(Duration::from_millis(1500)),
        no_link: Some(Duration::from_millis(900)),
        ..AmqpOptions::default()
    };
    let emulator = start_with(EmulatorOptions { amqp, ..EmulatorOptions::default() }).await;
    // The client sends heartbeats while it is polled: its idle link is detached, but not its connection.
    let mut client = Client::event_hub(&emulator).await;
    let mut reader =
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    let before = Instant::now();
    let error = closing_error(&mut reader).await;
    assert!(error.contains("DetachForced"), "{error}");
    assert!(before.elapsed() > Duration::from_millis(1000), "{:?}", before.elapsed());
    // A connection without a link is closed.
    let client = Client::open(&emulator, &emulator.event_hub_host(), SaslProfile::Anonymous).await.expect("open");
    let Client { mut connection, session } = client;
    let error = format!("{:?}", within(connection.on_close()).await);
    assert!(error.contains("ConnectionForced"), "{error}");
    drop(session);
    // A client that sends nothing, not even heartbeats, is cut off.
    let mut stream = tls(&emulator, &emulator.event_hub_host()).await;
    stream.write_all(b"AMQP\x03\x01\x00\x00").await.expect("write");
    let init = b"\x00\x00\x00\x1a\x02\x01\x00\x00\x00\x53\x41\xc0\x0d\x01\xa3\x09ANONYMOUS";
    let mut init = init.to_vec();
    init[3] = u8::try_from(init.len()).expect("short");
    init[12] = u8::try_from(init.len() - 13).expect("short");
    stream.write_all(&init).await.expect("write");
    stream.write_all(b"AMQP\x00\x01\x00\x00").await.expect("write");
    let mut said = Vec::new();
    let _ = within(stream.read_to_end(&mut said)).await;
    assert!(said.windows(8).any(|bytes| bytes == b"AMQP\x00\x01\x00\x00"), "{said:?}");
    assert!(String::from_utf8_lossy(&said).contains("amqp:resource-limit-exceeded"));
}

/// The client advertises an idle time-out, too, and gives up on a service that sends nothing for that time.
#[tokio::test]
async fn the_emulator_sends_heartbeats() {
    let emulator = start().await;
    let mut connection = fe2o3_amqp::Connection::builder()
        .container_id("impatient")
        .hostname("localhost")
        .scheme("amqp")
        .idle_time_out(400_u32)
        .sasl_profile(SaslProfile::Anonymous)
        .open_with_stream(tls(&emulator, &emulator.event_hub_host()).await)
        .await
        .expect("open");
    let session = fe2o3_amqp::Session::begin(&mut connection).await.expect("session");
    let mut client = Client { connection, session };
    let audience = event_hub_audience(&emulator);
    let token = event_hub_token(&audience, emulator.hub_policy("service").expect("policy"), 60);
    assert_eq!(client.put_token(&audience, &token).await.0, 202);
    let mut reader =
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    tokio::time::sleep(Duration::from_secs(2)).await;
    emulator.telemetry().send(TelemetryEvent::new("d", "x").partition(0));
    assert_eq!(numbers(&mut reader, 1).await, [0]);
}

#[tokio::test]
async fn amqp_without_sasl_is_refused_in_the_way_of_the_standard_but_by_the_hub() {
    let emulator = start().await;
    let mut stream = tls(&emulator, &emulator.event_hub_host()).await;
    stream.write_all(b"AMQP\x00\x01\x00\x00").await.expect("write");
    let mut said = Vec::new();
    let _ = within(stream.read_to_end(&mut said)).await;
    assert_eq!(said, b"AMQP\x03\x01\x00\x00");
    // Microsoft's JavaScript clients of IoT Hub begin without SASL, and then put a token.
    let mut stream = tls(&emulator, &emulator.hub_amqp_host()).await;
    stream.write_all(b"AMQP\x00\x01\x00\x00").await.expect("write");
    let mut said = [0; 8];
    within(stream.read_exact(&mut said)).await.expect("an answer");
    assert_eq!(said, *b"AMQP\x00\x01\x00\x00");
}

/// Meaningless bytes must end only their own connection.
#[tokio::test]
async fn noise_ends_only_its_own_connection() {
    let emulator = start().await;
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    for round in 0..40_usize {
        let mut stream = tls(&emulator, &emulator.event_hub_host()).await;
        let mut noise = b"AMQP\x03\x01\x00\x00".to_vec();
        if round % 2 == 0 {
            noise.extend(b"\x00\x00\x00\x19\x02\x01\x00\x00\x00\x53\x41\xc0\x0c\x01\xa3\x09ANONYMOUS");
            noise.extend(b"AMQP\x00\x01\x00\x00");
        }
        for _ in 0..20 {
            let length = 8 + usize::from(byte());
            noise.extend(u32::try_from(length).expect("short").to_be_bytes());
            // Every performative in turn, with random fields.
            noise.extend([2, 0, 0, 0, 0, 0x53, 0x10 + byte() % 9, 0xc0]);
            noise.extend((12..length).map(|_| byte()));
        }
        let _ = stream.write_all(&noise).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    emulator.telemetry().send(TelemetryEvent::new("d", "x").partition(0));
    let mut client = Client::event_hub(&emulator).await;
    let mut reader =
        client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    assert_eq!(numbers(&mut reader, 1).await, [0]);
}

async fn hub_client(emulator: &Emulator) -> Client {
    let host = emulator.hub_amqp_host();
    let mut client = Client::open(emulator, &host, SaslProfile::Anonymous).await.expect("open");
    let token = common::policy_token(&host, emulator.hub_policy("service").expect("policy"), 600);
    assert_eq!(client.put_token(&format!("amqps://{host}"), &token).await.0, 200);
    client
}

fn message(device: &str, properties: &[(&str, &str)], body: &[u8]) -> Message<fe2o3_amqp_types::messaging::Data> {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), SimpleValue::from(*value)));
    Message::builder()
        .properties(
            Properties::builder()
                .to(format!("/devices/{device}/messages/devicebound"))
                .message_id(format!("id-{}", body.len()))
                .content_type("text/plain")
                .build(),
        )
        .application_properties(ApplicationProperties(properties.collect()))
        .data(serde_amqp::primitives::Binary::from(body.to_vec()))
        .build()
}

fn rejected(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Rejected(rejected) => format!("{rejected:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn messages_reach_devices_and_feedback_comes_back() {
    let amqp = AmqpOptions { feedback_wait: Duration::from_millis(300), ..AmqpOptions::default() };
    let emulator = start_with(EmulatorOptions { amqp, ..EmulatorOptions::default() }).await;
    let http = hub(&emulator, "connector");
    http.put("/devices/d%201", json!({"deviceId": "d 1"})).await.expect(400);
    http.put("/devices/d%251", json!({"deviceId": "d%1"})).await.expect(200);
    http.put("/devices/plain", json!({"deviceId": "plain"})).await.expect(200);
    let mut client = hub_client(&emulator).await;
    let mut sender =
        Sender::attach(&mut client.session, "c2d", "amqps://localhost/messages/deviceBound").await.expect("sender");
    let mut feedback = Receiver::builder()
        .name("feedback")
        .source("/messages/serviceBound/feedback")
        .auto_accept(false)
        .attach(&mut client.session)
        .await
        .expect("receiver");
    // An id with a percent sign, both plain and percent-encoded.
    for to in ["d%1", "d%251"] {
        let properties = [("iothub-ack", "full"), ("colour", "blue")];
        let outcome = within(sender.send(message(to, &properties, b"hello"))).await.expect("sent");
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }
    let messages = emulator.devices().take_messages("d%1").await.expect("messages");
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].properties, [("colour".to_owned(), "blue".to_owned())]);
    assert_eq!(messages[0].content_type.as_deref(), Some("text/plain"));
    let delivery = within(feedback.recv::<Body<Value>>()).await.expect("feedback");
    let batch = records(delivery.message());
    assert_eq!(batch.as_array().map(Vec::len), Some(2), "{batch}");
    assert_eq!((&batch[0]["statusCode"], &batch[0]["originalMessageId"]), (&json!("Success"), &json!("id-5")));
    assert_eq!(batch[0]["deviceId"], "d%1");
    feedback.release(&delivery).await.expect("release");
    let again = within(feedback.recv::<Body<Value>>()).await.expect("feedback");
    assert_eq!(records(again.message()), batch, "what is abandoned comes again");
    feedback.accept(&again).await.expect("accept");

    // Limits: 64 KB per message, 50 messages in a queue, a lifetime of two days. Invalid messages are rejected, too.
    let outcome = within(sender.send(message("plain", &[], &vec![b'x'; (64 << 10) - 1000]))).await.expect("sent");
    assert!(matches!(outcome, Outcome::Accepted(_)));
    let outcome = within(sender.send(message("nobody", &[], b"x"))).await.expect("sent");
    assert!(rejected(&outcome).contains("NotFound") && rejected(&outcome).contains("404001"), "{outcome:?}");
    let outcome = within(sender.send(message("plain", &[("iothub-ack", "perhaps")], b"x"))).await.expect("sent");
    assert!(rejected(&outcome).contains("argument-error"), "{outcome:?}");
    for _ in 1..50 {
        let outcome = within(sender.send(message("plain", &[("iothub-ack", "negative")], b"x"))).await.expect("sent");
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }
    let outcome = within(sender.send(message("plain", &[], b"x"))).await.expect("sent");
    assert!(rejected(&outcome).contains("ResourceLimitExceeded"), "{outcome:?}");
    http.delete("/devices/plain/commands").await.expect(200);
    let delivery = within(feedback.recv::<Body<Value>>()).await.expect("feedback");
    assert_eq!(records(delivery.message())[0]["statusCode"], "Purged");
    feedback.accept(&delivery).await.expect("accept");

    let mut short = message("plain", &[("iothub-ack", "negative")], b"short");
    let soon = OffsetDateTime::now_utc().unix_timestamp() * 1000 + 1500;
    if let Some(properties) = &mut short.properties {
        properties.absolute_expiry_time = Some(Timestamp::from_milliseconds(soon));
    }
    within(sender.send(short)).await.expect("sent");
    let delivery = within(feedback.recv::<Body<Value>>()).await.expect("feedback");
    assert_eq!(records(delivery.message())[0]["statusCode"], "Expired");
    feedback.accept(&delivery).await.expect("accept");
    assert!(emulator.devices().take_messages("plain").await.expect("messages").is_empty());

    emulator.faults().add_text("hub-amqp:SEND /messages/devicebound=reject:com.microsoft:server-busyx1").expect("rule");
    let outcome = within(sender.send(message("plain", &[], b"x"))).await.expect("sent");
    assert!(rejected(&outcome).contains("server-busy"), "{outcome:?}");

    let mut files = Receiver::attach(&mut client.session, "files", "/messages/serviceBound/filenotifications")
        .await
        .expect("receiver");
    let file = FileUpload {
        device_id: "plain".to_owned(),
        blob_uri: "https://store.example/a/b".to_owned(),
        blob_name: "a/b".to_owned(),
        size: 17,
    };
    emulator.devices().upload_file(file).await.expect("file");
    let delivery = within(files.recv::<Body<Value>>()).await.expect("notice");
    let kind = delivery.message().properties.as_ref().and_then(|properties| properties.content_type.clone());
    assert!(format!("{kind:?}").contains("vnd.microsoft.iothub.filenotification.json"));
    assert_eq!(records(delivery.message())["blobSizeInBytes"], 17);
}

fn records(message: &Message<Body<Value>>) -> serde_json::Value {
    match &message.body {
        Body::Data(sections) => {
            let bytes: Vec<u8> = sections.iter().flat_map(|section| section.0.iter().copied()).collect();
            serde_json::from_slice(&bytes).expect("JSON")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_hub_redirects_readers_and_a_fail_over_moves_them() {
    let emulator = start_with(keep()).await;
    fill(&emulator, 5);
    let mut client = hub_client(&emulator).await;
    for path in ["$management", "ConsumerGroups/$Default/Partitions/0"] {
        let address = format!("amqps://localhost/messages/events/{path}");
        let error = refusal(&mut client, &address, Reader::default()).await;
        let target = format!("amqps://{}/{}/{path}", emulator.event_hub_host(), emulator.event_hub_name());
        assert!(error.contains("Redirect") && error.contains(&target), "{error}");
        let port = emulator.event_hub_host().replace("localhost:", "");
        assert!(error.contains(&format!("Uint({port})")) && error.contains("network-host"), "{error}");
    }
    let mut reader_client = Client::event_hub(&emulator).await;
    let old = (emulator.event_hub_host(), emulator.event_hub_name());
    let mut reader =
        reader_client.reader(&partition_address(&emulator, "$Default", 0), Reader::default()).await.expect("reader");
    assert_eq!(numbers(&mut reader, 5).await, [0, 1, 2, 3, 4]);
    emulator.fail_over().await.expect("fail-over");
    closing_error(&mut reader).await;
    assert_ne!(emulator.event_hub_host(), old.0);
    assert_ne!(emulator.event_hub_name(), old.1);
    let refused = tokio::net::TcpStream::connect(old.0.replace("localhost", "127.0.0.1")).await;
    assert!(refused.is_err(), "nothing listens at the old address");
    let error = refusal(&mut client, "/messages/events/ConsumerGroups/$Default/Partitions/0", Reader::default()).await;
    assert!(error.contains(&emulator.event_hub_name()), "{error}");
    let mut moved = Client::event_hub(&emulator).await;
    let address = partition_address(&emulator, "$Default", 0);
    let error = refusal(
        &mut moved,
        &address,
        Reader { selector: Some("amqp.annotation.x-opt-sequence-number > '4'"), ..Reader::default() },
    )
    .await;
    assert!(error.contains("argument-error"), "an earlier position is no longer valid: {error}");
    let mut reader = moved.reader(&address, Reader::default()).await.expect("reader");
    emulator.telemetry().send(TelemetryEvent::new("d", "after").partition(0));
    assert_eq!(numbers(&mut reader, 1).await, [0]);
    emulator.shutdown().await;
}

#[tokio::test]
async fn system_events_come_where_they_are_routed() {
    let routes = EventSource::SYSTEM.into_iter().collect();
    let emulator =
        start_with(EmulatorOptions { partitions: 1, system_event_routes: routes, ..EmulatorOptions::default() }).await;
    let http = hub(&emulator, "connector");
    http.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    http.put("/devices/d/modules/m", json!({"deviceId": "d", "moduleId": "m"})).await.expect(201);
    http.patch("/twins/d", json!({"tags": {"hall": 4}, "properties": {"desired": {"rate": 5}}})).await.expect(200);
    let devices = emulator.devices();
    devices.connect("d").await.expect("connect");
    devices.send_telemetry(TelemetryMessage::json("d", &json!({"n": 1}))).await.expect("telemetry");
    devices.disconnect("d").await.expect("disconnect");
    http.delete("/devices/d").await;
    http.call("DELETE", "/devices/d", &[("if-match", "*")], None).await;
    let seen: Vec<_> = emulator
        .telemetry()
        .events(0)
        .into_iter()
        .map(|(_, _, event)| {
            let operation = event.properties.iter().find(|(name, _)| name == "opType").map(|(_, value)| value.clone());
            (event.source, operation.unwrap_or_default(), event)
        })
        .collect();
    let short: Vec<_> = seen.iter().map(|(source, operation, _)| (*source, operation.as_str())).collect();
    assert_eq!(
        short,
        [
            (EventSource::DeviceLifecycle, "createDeviceIdentity"),
            (EventSource::DeviceLifecycle, "createModuleIdentity"),
            (EventSource::TwinChange, "updateTwin"),
            (EventSource::DigitalTwinChange, ""),
            (EventSource::DeviceConnectionState, "deviceConnected"),
            (EventSource::Telemetry, ""),
            (EventSource::DeviceConnectionState, "deviceDisconnected"),
            (EventSource::DeviceLifecycle, "deleteDeviceIdentity"),
        ]
    );
    let body = |index: usize| match &seen[index].2.body {
        EventBody::Data(data) => serde_json::from_slice::<serde_json::Value>(data).expect("JSON"),
        other => panic!("{other:?}"),
    };
    assert_eq!(body(0)["deviceId"], "d");
    assert_eq!(body(2)["tags"]["hall"], 4);
    assert_eq!(body(2)["properties"]["desired"]["rate"], 5);
    assert_eq!(body(3), json!([{"op": "replace", "path": "/rate", "value": 5}]));
    assert!(body(4)["sequenceNumber"].as_str() < body(6)["sequenceNumber"].as_str());
    let property = |name: &str| seen[0].2.properties.iter().any(|(key, _)| key == name);
    assert!(["hubName", "deviceId", "iothub-message-schema", "operationTimestamp"].into_iter().all(property));
}

#[tokio::test]
async fn a_simulation_is_what_its_seed_says() {
    let emulator = start().await;
    let options = SimulatorOptions {
        rate: 0.0,
        limit: Some(400),
        mix: PayloadKind::ALL.map(|kind| (kind, 1)).to_vec(),
        ..SimulatorOptions::default()
    };
    let expected: Vec<_> = azure_iot_emulator::SimulatedEvents::new(&options).collect();
    let simulator = Simulator::start(&emulator, options).expect("simulator");
    assert_eq!(simulator.finish().await, 400);
    let telemetry = emulator.telemetry();
    let mut found = 0;
    for partition in 0..telemetry.partition_count() {
        let wanted = expected.iter().filter(|message| telemetry.partition_of(&message.device_id) == partition);
        let events = telemetry.events(partition);
        for ((_, _, event), message) in events.iter().zip(wanted) {
            assert_eq!((&event.device_id, &event.body), (&message.device_id, &EventBody::Data(message.body.clone())));
            assert_eq!(event.properties, message.properties);
            found += 1;
        }
    }
    assert_eq!(found, 400);
}

/// A measurement rather than a test: how fast events are enqueued and read.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_events_go_through() {
    const COUNT: usize = 50_000;
    let emulator = start().await;
    let started = Instant::now();
    let events = (0..COUNT).map(|n| TelemetryEvent::new(format!("device-{}", n % 50), format!("{{\"n\":{n}}}")).json());
    emulator.telemetry().send_all(events);
    let produced = started.elapsed();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for partition in 0..4 {
        let mut client = Client::event_hub(&emulator).await;
        let address = partition_address(&emulator, "$Default", partition);
        let wanted = emulator.telemetry().partition(partition).expect("partition").last_sequence_number + 1;
        tasks.spawn(async move {
            let mut reader = client.reader(&address, Reader::default()).await.expect("reader");
            for next in 0..wanted {
                if next % 1000 == 0 {
                    reader.set_credit(1000).await.expect("credit");
                }
                let delivery = within(reader.recv::<Body<Value>>()).await.expect("message");
                assert_eq!(amqp::sequence(delivery.message()), next);
            }
            usize::try_from(wanted).expect("count")
        });
    }
    let counts = tasks.join_all().await;
    assert_eq!(counts.iter().sum::<usize>(), COUNT);
    let read = started.elapsed();
    println!(
        "{COUNT} events enqueued in {produced:?}, read over 4 connections in {read:?}: {:.0} a second",
        COUNT as f64 / read.as_secs_f64()
    );
}
