//! The typed API against a scripted service: which requests are sent, how answers are read, and which errors result.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use super::discover::{HubAddress, discover_over};
use super::{Access, Endpoint, EventBody, EventHub, ReadBudget, ReceiverOptions, StartPosition};
use crate::amqp::RemoteError;
use crate::amqp::codec::Value;
use crate::amqp::message::{Body, Message, Properties};
use crate::amqp::performative::*;
use crate::amqp::tests::peer::{self, Out, Peer, Seen, platform};
use crate::amqp_transport::AmqpTransport;
use crate::auth::SharedAccessKey;
use crate::error::{ErrorCode, Result, Retry};
use crate::platform::Platform as _;
use crate::platform::fake::FakePlatform;
use crate::secret::Secret;

const HOST: &str = "ihsuprod-ns.servicebus.windows.net";

fn key() -> SharedAccessKey {
    SharedAccessKey { policy: "service".into(), key: Secret::new("c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==") }
}

fn endpoint() -> Endpoint {
    Endpoint { host: HOST.into(), port: 5671, transport: AmqpTransport::Tcp, hub: "iothub-ehub-h".into() }
}

fn connect<'p>(platform: &'p FakePlatform, peer: &Peer, access: &Access) -> Result<EventHub<'p>>
where
    Peer: 'p,
{
    EventHub::over(platform, peer.clone(), &endpoint(), access, platform.monotonic() + Duration::from_secs(20))
}

fn claim() -> Access {
    Access::Claim(key())
}

fn options() -> ReceiverOptions {
    ReceiverOptions::new("$Default", "0", StartPosition::Earliest)
}

fn budget(events: usize, bytes: usize, wait: u64) -> ReadBudget {
    ReadBudget { events, bytes, wait: Duration::from_secs(wait) }
}

/// A device's message as IoT Hub enqueues it.
fn telemetry(number: i64) -> Message {
    let annotation = |name: &str, value: Value| (Value::symbol(name), value);
    Message {
        message_annotations: vec![
            annotation("iothub-connection-device-id", "press-1".into()),
            annotation("iothub-enqueuedtime", Value::Timestamp(1_700_000_000_000)),
            annotation("iothub-message-source", "Telemetry".into()),
            annotation("x-opt-sequence-number", Value::Long(number)),
            annotation("x-opt-offset", Value::string((number * 100).to_string())),
            annotation("x-opt-enqueued-time", Value::Timestamp(1_700_000_000_123)),
            annotation("x-opt-partition-key", "press-1".into()),
        ],
        delivery_annotations: vec![
            annotation("last_enqueued_sequence_number", Value::Long(41)),
            annotation("last_enqueued_offset", "4100".into()),
            annotation("last_enqueued_time_utc", Value::Timestamp(1_700_000_009_000)),
        ],
        properties: Properties {
            message_id: Some("m1".into()),
            to: Some("/devices/press-1/messages/events".into()),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            ..Properties::default()
        },
        application_properties: vec![("level".into(), "hot".into()), ("count".into(), Value::Ulong(u64::MAX))],
        body: Body::Data(vec![br#"{"t":"#.to_vec(), b"1}".to_vec()]),
    }
}

/// A partition with these messages. In everything else the peer answers like the service.
fn partition(platform: &Rc<FakePlatform>, messages: Vec<Message>) -> Peer {
    let mut messages = Some(messages);
    Peer::new(platform, move |seen, out| {
        let Seen::Frame(_, Performative::Flow(Flow { handle: Some(handle), .. }), _) = seen else { return false };
        let here = out.links.get(handle).is_some_and(|link| link.role == Role::Receiver && is_partition(link));
        if here {
            for message in messages.take().unwrap_or_default() {
                out.deliver(*handle, &message.encode(), 10_000);
            }
        }
        here
    })
}

fn is_partition(attach: &Attach) -> bool {
    attach
        .source
        .as_ref()
        .and_then(|source| source.address.as_deref())
        .is_some_and(|address| address.contains("/Partitions/"))
}

fn attach_of(peer: &Peer) -> Attach {
    let found = peer.frames().into_iter().find_map(|frame| match frame {
        Performative::Attach(attach) if is_partition(&attach) => Some(*attach),
        _ => None,
    });
    found.expect("an attach to the partition")
}

#[test]
fn an_event_is_read_with_all_that_it_has() {
    let platform = platform();
    let peer = partition(&platform, vec![telemetry(7)]);
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let mut receiver = hub.receiver(&options()).expect("attached");
    let mut events = hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect("events");
    assert_eq!(events.len(), 1);
    let event = events.remove(0);
    assert_eq!((event.sequence_number, event.offset.as_str(), event.enqueued_time_ms), (7, "700", 1_700_000_000_123));
    assert_eq!(event.partition_key.as_deref(), Some("press-1"));
    assert_eq!(
        serde_json::Value::Object(event.system_properties.to_map()),
        json!({
            "iothub-connection-device-id": "press-1",
            "iothub-enqueuedtime": 1_700_000_000_000_i64,
            "iothub-message-source": "Telemetry",
        })
    );
    assert_eq!(
        serde_json::Value::Object(event.application_properties.to_map()),
        json!({ "level": "hot", "count": u64::MAX })
    );
    assert_eq!(event.body, EventBody::Data(br#"{"t":1}"#.to_vec()));
    assert_eq!(event.message_id.as_deref(), Some("m1"));
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    assert_eq!(event.content_encoding.as_deref(), Some("utf-8"));
    let last = event.last_enqueued.expect("asked for");
    assert_eq!((last.sequence_number, last.offset.as_deref()), (Some(41), Some("4100")));
    assert!(event.size > 100);
    hub.close();
}

#[test]
fn the_link_is_asked_for_as_microsofts_clients_do() {
    let platform = platform();
    let peer = partition(&platform, vec![]);
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let wanted = ReceiverOptions { owner_level: Some(3), prefetch: Some(9), ..options() };
    let mut receiver = hub.receiver(&wanted).expect("attached");
    assert_eq!(hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect("nothing"), vec![]);
    let attach = attach_of(&peer);
    let source = attach.source.expect("a source");
    assert_eq!(
        source.address.as_deref(),
        Some("amqps://ihsuprod-ns.servicebus.windows.net/iothub-ehub-h/ConsumerGroups/$Default/Partitions/0")
    );
    let (name, filter) = &source.filter[0];
    assert_eq!(name, &Value::symbol("apache.org:selector-filter:string"));
    assert_eq!(filter, &Value::described(77_567_109_365_764, Value::from("amqp.annotation.x-opt-offset > '-1'")));
    assert!(attach.properties.contains(&(Value::symbol("com.microsoft:epoch"), Value::Long(3))));
    assert!(attach.desired_capabilities.contains(&"com.microsoft:georeplication".to_owned()));
    assert!(attach.target.is_some());
    assert!(peer.frames().iter().any(|frame| matches!(frame, Performative::Flow(Flow { link_credit: Some(9), .. }))));
}

#[test]
fn the_token_is_of_event_hubs_dialect() {
    let platform = platform();
    let peer = partition(&platform, vec![]);
    connect(&platform, &peer, &claim()).expect("connected");
    let state = peer.state.borrow();
    let put = state.seen.iter().find_map(|seen| match seen {
        Seen::Frame(_, Performative::Transfer(_), payload) => Some(Message::decode(payload).expect("a request")),
        _ => None,
    });
    let put = put.expect("a token");
    let audience = format!("sb://{HOST}/iothub-ehub-h");
    assert_eq!(put.property("name"), Some(&Value::from(audience.as_str())));
    let expected = key().token(crate::auth::Dialect::EventHubs, &audience, 1_800_003_600);
    assert_eq!(put.body, Body::Value(Value::from(expected.expose())));
}

#[test]
fn budgets_are_kept() {
    let platform = platform();
    let peer = partition(&platform, (0..6).map(telemetry).collect());
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let mut receiver = hub.receiver(&options()).expect("attached");
    let size = super::Event::read(&telemetry(0).encode()).expect("an event").memory;
    let numbers = |events: Vec<super::Event>| events.iter().map(|event| event.sequence_number).collect::<Vec<_>>();
    assert_eq!(numbers(hub.receive(&mut receiver, budget(2, 1 << 20, 1)).expect("events")), [0, 1]);
    assert_eq!(numbers(hub.receive(&mut receiver, budget(10, size + 5, 1)).expect("events")), [2]);
    assert_eq!(numbers(hub.receive(&mut receiver, budget(10, 1, 1)).expect("one in any case")), [3]);
    // Events that were given back come first in the next read, in their order.
    let rest = hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect("the rest");
    receiver.give_back(rest);
    assert_eq!(numbers(hub.receive(&mut receiver, budget(1, 1 << 20, 1)).expect("again")), [4]);
    assert_eq!(numbers(hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect("again")), [5]);
    let before = platform.monotonic();
    assert_eq!(numbers(hub.receive(&mut receiver, budget(10, 1 << 20, 3)).expect("nothing")), [] as [i64; 0]);
    assert_eq!(platform.monotonic() - before, Duration::from_secs(3));
    // The call's own deadline ends a longer wait.
    hub.receive(&mut receiver, budget(10, 1 << 20, 500)).expect("nothing");
    assert!(platform.monotonic() <= peer::NOW + Duration::from_secs(20));
}

#[test]
fn properties_are_read_from_management() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen else { return false };
        let request = Message::decode(payload).expect("a request");
        if request.property("operation") != Some(&Value::from("READ")) {
            return false;
        }
        assert_eq!(request.property("name"), Some(&Value::from("iothub-ehub-h")));
        assert!(request.property("security_token").is_some());
        let pairs: Vec<(Value, Value)> = if request.property("type") == Some(&Value::from("com.microsoft:eventhub")) {
            vec![
                ("name".into(), "iothub-ehub-h".into()),
                ("created_at".into(), Value::Timestamp(5)),
                ("partition_count".into(), Value::Int(2)),
                ("partition_ids".into(), Value::Array(vec!["0".into(), "1".into()])),
            ]
        } else {
            assert_eq!(request.property("partition"), Some(&Value::from("1")));
            vec![
                ("partition".into(), "1".into()),
                ("begin_sequence_number".into(), Value::Long(3)),
                ("last_enqueued_sequence_number".into(), Value::Long(-1)),
                ("last_enqueued_offset".into(), "-1".into()),
                ("last_enqueued_time_utc".into(), Value::Timestamp(-62_135_596_800_000)),
                ("is_partition_empty".into(), Value::Boolean(true)),
            ]
        };
        peer::reply(
            transfer,
            payload,
            vec![("status-code".into(), Value::Int(200))],
            Body::Value(Value::Map(pairs)),
            out,
        );
        true
    });
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    assert_eq!(hub.properties().expect("properties").partition_ids, ["0", "1"]);
    let partition = hub.partitions(&["1".to_owned()]).expect("properties").remove(0);
    assert_eq!((partition.begin_sequence_number, partition.last_enqueued_sequence_number), (3, -1));
    assert!(partition.is_empty);
}

#[test]
fn an_answer_that_is_not_as_described_is_a_protocol_error() {
    for body in [Body::Value(Value::Null), Body::Data(vec![]), Body::Value(Value::Map(vec![]))] {
        let platform = platform();
        let peer = Peer::new(&platform, move |seen, out| {
            let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen else { return false };
            peer::reply(transfer, payload, vec![("status-code".into(), Value::Int(200))], body.clone(), out);
            true
        });
        let mut hub = connect(&platform, &peer, &claim()).expect("connected");
        assert_eq!(hub.properties().expect_err("not as described").code(), ErrorCode::Protocol);
    }
    let platform = platform();
    let peer = partition(&platform, vec![Message { message_annotations: vec![], ..telemetry(1) }]);
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let mut receiver = hub.receiver(&options()).expect("attached");
    let error = hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect_err("no sequence number");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::Protocol, Retry::Backoff));
}

/// A client that may send can write anything after the annotations; a reader must be able to skip it.
#[test]
fn a_malformed_event_does_not_block_the_partition() {
    let platform = platform();
    let bytes = std::cell::RefCell::new(Some(()));
    let peer = Peer::new(&platform, move |seen, out| {
        let Seen::Frame(_, Performative::Flow(Flow { handle: Some(handle), .. }), _) = seen else { return false };
        let here = out.links.get(handle).is_some_and(|link| link.role == Role::Receiver && is_partition(link));
        if here && bytes.borrow_mut().take().is_some() {
            let mut broken = Message { body: Body::Data(vec![]), ..telemetry(1) }.encode();
            broken.extend(b"\x00\x53\x77\xc0\xff\x01");
            out.deliver(*handle, &broken, 10_000);
            out.deliver(*handle, &telemetry(2).encode(), 10_000);
            out.deliver(*handle, &[0x40], 10_000);
        }
        here
    });
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let mut receiver = hub.receiver(&options()).expect("attached");
    let events = hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect("events");
    let numbers: Vec<i64> = events.iter().map(|event| event.sequence_number).collect();
    assert_eq!(numbers, [1, 2]);
    assert!(events[0].malformed.is_some() && events[1].malformed.is_none());
    assert_eq!(events[0].body, EventBody::Data(b"\x00\x53\x77\xc0\xff\x01".to_vec()));
    assert_eq!(events[0].application_properties.text("level"), Some("hot"));
    // The third event lacks its position: the events before it are returned, and the next read reports the error.
    for _ in 0..2 {
        let error = hub.receive(&mut receiver, budget(10, 1 << 20, 1)).expect_err("no event");
        assert_eq!(error.code(), ErrorCode::Protocol);
    }
}

/// A service that detaches every receiver of a partition or of `messages/events` with this error.
fn detaches(platform: &Rc<FakePlatform>, error: RemoteError) -> Peer {
    Peer::new(platform, move |seen, out: &mut Out| {
        let Seen::Frame(_, Performative::Attach(attach), _) = seen else { return false };
        let address = attach.source.as_ref().and_then(|source| source.address.clone()).unwrap_or_default();
        if !address.starts_with("amqps://") {
            return false;
        }
        let refused = Attach {
            handle: attach.handle + 100,
            role: Role::Sender,
            source: None,
            target: None,
            ..(**attach).clone()
        };
        out.frame(&Performative::Attach(Box::new(refused)));
        out.links.remove(&attach.handle);
        out.frame(&Performative::Detach(Detach {
            handle: attach.handle + 100,
            closed: true,
            error: Some(error.clone()),
        }));
        true
    })
}

#[test]
fn losing_the_partition_is_a_consumer_conflict() {
    let platform = platform();
    let text = "New receiver 'nil' with higher epoch of '1' is created hence current receiver 'nil' with epoch '0' is getting \
                disconnected. TrackingId:0602df8f_G32_B34, SystemTracker:x";
    let error = RemoteError { condition: "amqp:link:stolen".into(), description: Some(text.into()), info: vec![] };
    let peer = detaches(&platform, error);
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let error = hub.receiver(&options()).expect_err("stolen");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::ConsumerConflict, Retry::AfterReconfiguration));
    let fault = error.record().service.clone().expect("what the service said");
    assert_eq!(fault.code.as_deref(), Some("amqp:link:stolen"));
    assert_eq!(fault.tracking_id.as_deref(), Some("0602df8f_G32_B34"));
}

#[test]
fn a_refused_token_is_a_refused_key_and_no_secret_gets_out() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen else { return false };
        peer::reply(
            transfer,
            payload,
            vec![
                ("status-code".into(), Value::Int(401)),
                ("status-description".into(), "InvalidSignature: The token has an invalid signature.".into()),
            ],
            Body::Value(Value::Null),
            out,
        );
        true
    });
    let error = connect(&platform, &peer, &claim()).err().expect("refused");
    assert_eq!((error.code(), error.status()), (ErrorCode::AuthFailed, Some(401)));
    let text = format!("{error:?}");
    assert!(!text.contains("c2VjcmV0") && !text.contains("sig="), "no secret in {text}");
}

#[test]
fn plain_needs_no_token() {
    let platform = platform();
    let peer = partition(&platform, vec![telemetry(1)]);
    let mut hub = connect(&platform, &peer, &Access::Plain(key())).expect("connected");
    let mut receiver = hub.receiver(&options()).expect("attached");
    assert_eq!(hub.receive(&mut receiver, budget(1, 1 << 20, 1)).expect("an event").len(), 1);
    let init = peer.frames().into_iter().find_map(|frame| match frame {
        Performative::SaslInit(init) => Some(init),
        _ => None,
    });
    let init = init.expect("an init");
    assert_eq!(
        (init.mechanism.as_str(), init.initial_response.as_slice()),
        ("PLAIN", &b"\0service\0c2VjcmV0IGtleSBvZiB0aGUgdGVzdA=="[..])
    );
    assert!(!peer.frames().iter().any(|frame| matches!(frame, Performative::Transfer(_))), "no token was put");
}

fn redirect(hostname: &str, address: &str) -> RemoteError {
    let info = vec![
        (Value::symbol("hostname"), Value::from(hostname)),
        (Value::symbol("network-host"), Value::from(hostname)),
        (Value::symbol("port"), Value::Uint(5671)),
        (Value::symbol("address"), Value::from(address)),
    ];
    RemoteError { condition: "amqp:link:redirect".into(), description: None, info }
}

fn ask(platform: &FakePlatform, peer: &Peer) -> Result<Endpoint> {
    let hub = HubAddress { host: "plant.azure-devices.net".into(), port: 5671, transport: AmqpTransport::Tcp };
    let may_follow = |host: &str| host.ends_with(".servicebus.windows.net");
    let deadline = platform.monotonic() + Duration::from_secs(20);
    discover_over(platform, &mut || Ok(peer.clone()), &hub, &key(), &may_follow, deadline)
}

/// Asks for the endpoint; each connection reaches the next one of these peers.
fn ask_each(platform: &FakePlatform, host: &str, peers: &[Peer]) -> Result<Endpoint> {
    let hub = HubAddress { host: host.into(), port: 5671, transport: AmqpTransport::Tcp };
    let may_follow = |host: &str| host.ends_with(".servicebus.windows.net");
    let deadline = platform.monotonic() + Duration::from_secs(20);
    let mut peers = peers.iter();
    let mut open = || Ok(peers.next().expect("no more connections than that").clone());
    discover_over(platform, &mut open, &hub, &key(), &may_follow, deadline)
}

/// A hub that offers these mechanisms and refuses PLAIN.
fn without_passwords(platform: &Rc<FakePlatform>, mechanisms: &'static [&'static str]) -> Peer {
    Peer::new(platform, move |seen, out: &mut Out| match seen {
        Seen::Header(header) if *header == crate::amqp::frame::SASL_HEADER => {
            out.raw(header);
            let mechanisms = mechanisms.iter().map(|name| (*name).to_owned()).collect();
            out.sasl(&Performative::SaslMechanisms(mechanisms));
            true
        }
        Seen::Frame(_, Performative::SaslInit(init), _) if init.mechanism == "PLAIN" => {
            out.sasl(&Performative::SaslOutcome(1));
            true
        }
        _ => false,
    })
}

#[test]
fn a_hub_that_takes_no_password_is_asked_with_a_token() {
    let found = redirect(HOST, &format!("amqps://{HOST}:5671/iothub-ehub-h/$management"));
    for (mechanisms, sent) in
        [(&["MSSBCBS", "ANONYMOUS"][..], false), (&["MSSBCBS"], false), (&["PLAIN", "MSSBCBS"], true)]
    {
        let platform = platform();
        let (first, second) = (without_passwords(&platform, mechanisms), detaches(&platform, found.clone()));
        let host = "plant.service.azure-devices.net";
        let asked = ask_each(&platform, host, &[first.clone(), second.clone()]).expect("found");
        assert_eq!(asked, endpoint());
        let inits = |peer: &Peer| {
            peer.frames().into_iter().filter(|frame| matches!(frame, Performative::SaslInit(_))).collect::<Vec<_>>()
        };
        // A hub that does not offer PLAIN is sent no SASL init at all.
        assert_eq!(!inits(&first).is_empty(), sent, "{mechanisms:?}");
        for init in inits(&first).iter().chain(&inits(&second)) {
            let Performative::SaslInit(init) = init else { unreachable!("as filtered") };
            let response = String::from_utf8_lossy(&init.initial_response).into_owned();
            match init.mechanism.as_str() {
                // The user name contains the first label of the host name; the token is for the whole host.
                "PLAIN" => assert!(
                    response.starts_with(
                        "\0service@sas.root.plant\0SharedAccessSignature sr=plant.service.azure-devices.net&"
                    ),
                    "{response}"
                ),
                _ => assert_eq!(response, ""),
            }
        }
        let put = second.state.borrow().seen.iter().find_map(|seen| match seen {
            Seen::Frame(_, Performative::Transfer(_), payload) => Message::decode(payload).ok(),
            _ => None,
        });
        let put = put.expect("a token was put");
        let property = |name: &str| {
            let found = put.application_properties.iter().find(|(key, _)| key.as_str() == Some(name));
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(property("name"), Some(Value::string(host)));
        assert_eq!(property("type"), Some(Value::string("servicebus.windows.net:sastoken")));
        let Body::Value(Value::String(token)) = &put.body else { panic!("{put:?}") };
        assert!(token.starts_with("SharedAccessSignature sr=plant.service.azure-devices.net&"), "{token}");
        let attach = second.frames().into_iter().find_map(|frame| match frame {
            Performative::Attach(attach) => {
                attach.source.and_then(|source| source.address).filter(|it| it.starts_with("amqps"))
            }
            _ => None,
        });
        assert_eq!(attach.as_deref(), Some("amqps://plant.service.azure-devices.net/messages/events/$management"));
    }
}

#[test]
fn where_both_ways_are_closed_the_first_says_why() {
    let platform = platform();
    let closed = |mechanisms| without_passwords(&platform, mechanisms);
    let error = ask_each(&platform, "plant.azure-devices.net", &[closed(&["PLAIN"]), closed(&["PLAIN"])]);
    assert_eq!(error.expect_err("refused").code(), ErrorCode::AuthFailed);
    let error = ask_each(&platform, "plant.azure-devices.net", &[closed(&["EXTERNAL"]), closed(&["EXTERNAL"])]);
    assert_eq!(error.expect_err("no way").code(), ErrorCode::Unsupported);
}

#[test]
fn a_hub_names_its_endpoint_itself() {
    let platform = platform();
    let peer = detaches(&platform, redirect(HOST, &format!("amqps://{HOST}:5671/iothub-ehub-h/$management")));
    assert_eq!(ask(&platform, &peer).expect("found"), endpoint());
    let init = peer.frames().into_iter().find_map(|frame| match frame {
        Performative::SaslInit(init) => Some(init),
        _ => None,
    });
    let response = String::from_utf8(init.expect("an init").initial_response).expect("text");
    assert!(
        response.starts_with("\0service@sas.root.plant\0SharedAccessSignature sr=plant.azure-devices.net&"),
        "{response}"
    );
}

#[test]
fn a_hub_is_not_followed_anywhere() {
    let platform = platform();
    let peer = detaches(&platform, redirect("evil.example", "amqps://evil.example:5671/h/$management"));
    let error = ask(&platform, &peer).expect_err("not followed");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::Protocol, Retry::AfterReconfiguration));
    assert!(error.record().message.contains("evil.example"));
    let peer = detaches(&platform, redirect(HOST, ""));
    assert_eq!(ask(&platform, &peer).expect_err("no Event Hub").code(), ErrorCode::Protocol);
    let peer =
        detaches(&platform, RemoteError { condition: "amqp:unauthorized-access".into(), ..RemoteError::default() });
    assert_eq!(ask(&platform, &peer).expect_err("refused").code(), ErrorCode::AuthFailed);
    // A peer that attaches the link and then sends nothing.
    let peer = Peer::good(&platform);
    assert_eq!(ask(&platform, &peer).expect_err("no answer").code(), ErrorCode::Timeout);
}

/// Whether a link to a partition is in the same session as this link.
fn shares_its_session(out: &Out, handle: u32) -> bool {
    out.links.iter().any(|(other, link)| other / peer::SESSION == handle / peer::SESSION && is_partition(link))
}

fn is_read(payload: &[u8]) -> bool {
    Message::decode(payload).expect("a request").property("operation") == Some(&Value::from("READ"))
}

fn description() -> Body {
    Body::Value(Value::Map(vec![
        ("name".into(), "iothub-ehub-h".into()),
        ("created_at".into(), Value::Timestamp(5)),
        ("partition_count".into(), Value::Int(1)),
        ("partition_ids".into(), Value::Array(vec!["0".into()])),
    ]))
}

/// Some servers delay an answer while messages of the same session wait for credit.
#[test]
fn an_answer_does_not_wait_behind_events() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen else { return false };
        if !is_read(payload) {
            return false;
        }
        if !shares_its_session(out, transfer.handle) {
            let ok = vec![("status-code".into(), Value::Int(200))];
            peer::reply(transfer, payload, ok, description(), out);
        }
        true
    });
    let mut hub = connect(&platform, &peer, &claim()).expect("connected");
    let _receiver = hub.receiver(&options()).expect("attached");
    assert_eq!(hub.properties().expect("answered").partition_ids, ["0"]);
    assert_eq!(platform.monotonic(), peer::NOW, "at once");
}

/// A look-up beside a stream ends soon, and the stream continues even if the look-up fails: by no answer, an ended
/// session, or a refused link.
#[test]
fn a_look_up_costs_the_stream_nothing() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Silence,
        SessionEnded,
        LinkRefused,
    }
    for fate in [Fate::Silence, Fate::SessionEnded, Fate::LinkRefused] {
        let platform = platform();
        let mut messages = vec![telemetry(2), telemetry(1)];
        let mut reads = 0;
        let peer = Peer::new(&platform, move |seen, out| match seen {
            Seen::Frame(_, Performative::Flow(Flow { handle: Some(handle), .. }), _) => {
                let here = out.links.get(handle).is_some_and(is_partition);
                if here && let Some(message) = messages.pop() {
                    out.deliver(*handle, &message.encode(), 10_000);
                }
                here
            }
            Seen::Frame(_, Performative::Attach(attach), _) if fate == Fate::LinkRefused && reads == 0 => {
                let asked = attach.target.as_ref().and_then(|target| target.address.as_deref());
                let here = attach.role == Role::Sender && asked == Some("$management");
                if here {
                    reads += 1;
                    peer::answer_attach(attach, out);
                    let error =
                        RemoteError { condition: "amqp:internal-error".into(), description: None, info: vec![] };
                    out.links.remove(&attach.handle);
                    let handle = attach.handle + 100;
                    out.frame(&Performative::Detach(Detach { handle, closed: true, error: Some(error) }));
                }
                here
            }
            Seen::Frame(_, Performative::Transfer(transfer), payload) if is_read(payload) => {
                reads += 1;
                match fate {
                    _ if reads > 1 => {
                        let ok = vec![("status-code".into(), Value::Int(200))];
                        peer::reply(transfer, payload, ok, description(), out);
                    }
                    Fate::SessionEnded => out.end_session(transfer.handle, None),
                    Fate::Silence | Fate::LinkRefused => {}
                }
                true
            }
            _ => false,
        });
        let mut hub = connect(&platform, &peer, &claim()).expect("connected");
        let mut receiver = hub.receiver(&ReceiverOptions { prefetch: Some(1), ..options() }).expect("attached");
        assert_eq!(hub.receive(&mut receiver, budget(1, 1 << 20, 1)).expect("an event")[0].sequence_number, 1);
        let before = platform.monotonic();
        let error = hub.within(Duration::from_secs(3), EventHub::properties).expect_err("no answer");
        let expected = if fate == Fate::Silence { ErrorCode::Timeout } else { ErrorCode::Unavailable };
        assert_eq!(error.code(), expected, "{fate:?}: {error}");
        assert!(platform.monotonic() - before <= Duration::from_secs(3), "{fate:?}");
        let events = hub.receive(&mut receiver, budget(1, 1 << 20, 1));
        assert_eq!(events.expect("the stream goes on")[0].sequence_number, 2, "{fate:?}");
        assert_eq!(hub.properties().expect("answered now").partition_ids, ["0"], "{fate:?}");
    }
}
