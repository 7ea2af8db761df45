//! A peer without faults: which frames the client sends, and which events result.

use std::time::Duration;

use super::peer::{self, NOW, Out, Peer, Seen, deadline, open, options, platform};
use crate::amqp::cbs::Claim;
use crate::amqp::client::Client;
use crate::amqp::codec::Value;
use crate::amqp::connection::{Connection, Event, Options};
use crate::amqp::error::{Error, Misbehaviour};
use crate::amqp::link::LinkOptions;
use crate::amqp::management::Management;
use crate::amqp::message::{Body, Message};
use crate::amqp::performative::*;
use crate::amqp::sasl::Mechanism;
use crate::amqp::stage::Stage;
use crate::platform::Platform;
use crate::secret::Secret;

fn receiver() -> LinkOptions {
    LinkOptions::receiver("r1", "amqps://ns/h/ConsumerGroups/$Default/Partitions/0")
}

/// A rule that sends these messages as soon as there is credit, in transfers of `part` bytes.
fn sends(messages: Vec<Vec<u8>>, part: usize) -> impl FnMut(&Seen, &mut Out) -> bool {
    let mut messages = messages.into_iter();
    let mut sent = 0;
    move |seen, out| {
        if let Seen::Frame(_, Performative::Flow(flow), _) = seen
            && let (Some(handle), Some(count), Some(credit)) = (flow.handle, flow.delivery_count, flow.link_credit)
            && out.links.get(&handle).is_some_and(|link| link.role == Role::Receiver)
        {
            while sent < count.wrapping_add(credit) {
                let Some(message) = messages.next() else { break };
                out.deliver(handle, &message, part);
                sent += 1;
            }
            return true;
        }
        false
    }
}

fn message(number: usize, size: usize) -> Vec<u8> {
    let body = Body::Data(vec![vec![u8::try_from(number % 251).unwrap_or_default(); size]]);
    Message { body, ..Message::default() }.encode()
}

#[test]
fn the_opening_is_byte_for_byte_as_the_standard_has_it() {
    let mut connection =
        Connection::new(Options::new("c", "h", Mechanism::Plain { user: "u".into(), password: Secret::new("p") }), NOW);
    assert_eq!(connection.outgoing(), b"AMQP\x03\x01\x00\x00");
    connection.sent(8, NOW);
    // Two mechanisms: an array of short symbols in a list of one field.
    let mechanisms = b"AMQP\x03\x01\x00\x00\x00\x00\x00\x22\x02\x01\x00\x00\x00\x53\x40\xc0\x15\x01\xe0\x12\x02\xa3\x05PLAIN\x09ANONYMOUS";
    connection.receive(mechanisms, NOW).expect("mechanisms");
    assert_eq!(
        connection.outgoing(),
        b"\x00\x00\x00\x1e\x02\x01\x00\x00\x00\x53\x41\xc0\x11\x03\xa3\x05PLAIN\xa0\x04\x00u\x00p\xa1\x01h"
    );
    let length = connection.outgoing().len();
    connection.sent(length, NOW);
    connection.receive(b"\x00\x00\x00\x10\x02\x01\x00\x00\x00\x53\x44\xc0\x03\x01\x50\x00", NOW).expect("outcome");
    let sent = connection.outgoing().to_vec();
    assert!(sent.starts_with(b"AMQP\x00\x01\x00\x00"));
    // Ten fields in the open and eight in the begin: nulls at the end are written, too.
    let open = &sent[8..];
    assert_eq!(&open[4..11], b"\x02\x00\x00\x00\x00\x53\x10");
    assert_eq!((open[11], open[13]), (0xc0, 10));
    let begin = &open[usize::from(open[3])..];
    assert_eq!(&begin[8..11], b"\x00\x53\x11");
    assert_eq!((begin[11], begin[13]), (0xc0, 8));
    assert!(sent.len() <= 8 + 512, "it must fit before anything is agreed");
}

#[test]
fn performatives_have_all_their_fields() {
    let count = |performative: Performative| {
        let mut out = Vec::new();
        performative.encode(&mut out);
        match crate::amqp::codec::decode_one(&out, crate::amqp::codec::Limits::PERFORMATIVE).expect("itself") {
            Value::Described(both) => match both.1 {
                Value::List(items) => items,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(count(Performative::Open(Open::default())).len(), 10);
    assert_eq!(count(Performative::Begin(Begin::default())).len(), 8);
    assert_eq!(count(Performative::Flow(Flow::default())).len(), 11);
    assert_eq!(count(Performative::Transfer(Transfer::default())).len(), 11);
    assert_eq!(count(Performative::Detach(Detach::default())).len(), 3);
    for options in [receiver(), LinkOptions::sender("s", "$cbs")] {
        let attach = count(Performative::Attach(Box::new(options.attach(0))));
        assert_eq!(attach.len(), 14);
        assert!(matches!((&attach[5], &attach[6]), (Value::Described(_), Value::Described(_))), "source and target");
    }
    let disposition = Disposition { role: Role::Receiver, first: 0, last: None, settled: true, state: None };
    assert_eq!(count(Performative::Disposition(disposition)).len(), 6);
}

#[test]
fn all_is_the_same_in_fragments_of_any_size() {
    let messages: Vec<Vec<u8>> = (0..3).map(|number| message(number, 700)).collect();
    for fragment in 1..64 {
        let platform = platform();
        let peer = Peer::new(&platform, sends(messages.clone(), 300));
        peer.state.borrow_mut().fragment = fragment;
        let mut client = open(&platform, &peer).expect("open");
        let link = client.attach(&receiver(), 10, &deadline(&platform, 10)).expect("attached");
        for message in &messages {
            let delivery =
                client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").expect("a message");
            assert_eq!(delivery.payload, *message, "in fragments of {fragment}");
        }
        client.close(&deadline(&platform, 5));
    }
}

#[test]
fn a_stream_can_be_cut_at_every_byte() {
    // All bytes that the peer sends in a whole conversation, recorded once.
    let platform = platform();
    let record = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = record.clone();
    let mut rule = sends(vec![message(1, 50)], 20);
    let peer = Peer::new(&platform, move |seen, out| {
        let dealt = rule(seen, out);
        if !dealt {
            peer::answer(seen, out);
        }
        kept.borrow_mut().push(seen.clone());
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 1, &deadline(&platform, 10)).expect("attached");
    client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").expect("a message");
    assert!(record.borrow().len() >= 6);

    // A scripted stream, split into two pieces at every possible place.
    let mut stream = Out::default();
    stream.raw(b"AMQP\x03\x01\x00\x00");
    stream.sasl(&Performative::SaslMechanisms(vec!["ANONYMOUS".into()]));
    stream.sasl(&Performative::SaslOutcome(0));
    stream.raw(b"AMQP\x00\x01\x00\x00");
    stream.frame(&Performative::Open(peer::good_open()));
    stream.frame(&Performative::Begin(peer::good_begin(0)));
    let bytes = stream.take();
    for cut in 0..=bytes.len() {
        let mut connection = Connection::new(options(), NOW);
        connection.receive(&bytes[..cut], NOW).expect("the first piece");
        connection.receive(&bytes[cut..], NOW).expect("the second piece");
        assert_eq!(connection.event(), Some(Event::Ready), "cut at {cut}");
    }
}

#[test]
fn credit_is_granted_once_and_topped_up_at_half() {
    let platform = platform();
    let peer = Peer::new(&platform, sends((0..40).map(|number| message(number, 10)).collect(), 1_000));
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 10, &deadline(&platform, 10)).expect("attached");
    for _ in 0..40 {
        client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").expect("a message");
    }
    assert_eq!(client.receive(link, Duration::MAX, &deadline(&platform, 1)).expect("no error"), None);
    let flows: Vec<(u32, u32)> = peer
        .frames()
        .into_iter()
        .filter_map(|frame| match frame {
            Performative::Flow(flow) => Some((flow.delivery_count?, flow.link_credit?)),
            _ => None,
        })
        .collect();
    assert_eq!(flows.first(), Some(&(0, 10)));
    for pair in flows.windows(2) {
        assert!(pair[1].0 + pair[1].1 > pair[0].0 + pair[0].1, "each flow grants more: {flows:?}");
        assert!(pair[1].1 <= 10, "never more than the prefetch: {flows:?}");
    }
    assert!(flows.len() <= 10, "few flows: {flows:?}");
}

#[test]
fn a_message_in_many_transfers_and_beyond_the_window_arrives() {
    let platform = platform();
    // 3,000 transfers of 100 bytes: more than the session's window has room for at once.
    let big = message(7, 300_000);
    let mut pieces: Vec<Vec<u8>> = big.chunks(100).map(<[u8]>::to_vec).collect();
    pieces.reverse();
    let total = pieces.len();
    let mut begun = false;
    let peer = Peer::new(&platform, move |seen, out| {
        let Seen::Frame(_, Performative::Flow(flow), _) = seen else { return false };
        let Some(handle) = flow.handle else { return true };
        let sent = u32::try_from(total - pieces.len()).expect("few");
        let mut window = flow.next_incoming_id.expect("begun") + flow.incoming_window - 1 - sent;
        while window > 0 {
            let Some(piece) = pieces.pop() else { break };
            let transfer = Transfer {
                handle: handle + 100,
                delivery_id: (!begun).then_some(0),
                delivery_tag: (!begun).then(|| vec![1]),
                more: !pieces.is_empty(),
                ..Transfer::default()
            };
            begun = true;
            out.transfer(&transfer, &piece);
            window -= 1;
        }
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 1, &deadline(&platform, 10)).expect("attached");
    let delivery =
        client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").expect("the message");
    assert_eq!(delivery.payload, big);
    // The sender did not settle the message, so the client settles it.
    client.receive(link, Duration::MAX, &deadline(&platform, 1)).expect("no error");
    let settled = peer.frames().into_iter().any(|frame| {
        matches!(
            frame,
            Performative::Disposition(Disposition {
                role: Role::Receiver,
                first: 0,
                last: Some(0),
                settled: true,
                state: Some(Outcome::Accepted)
            })
        )
    });
    assert!(settled);
}

#[test]
fn an_aborted_message_is_forgotten() {
    let platform = platform();
    let whole = message(1, 30);
    let peer = Peer::new(&platform, {
        let whole = whole.clone();
        let mut done = false;
        move |seen, out| {
            let Seen::Frame(_, Performative::Flow(Flow { handle: Some(handle), .. }), _) = seen else { return false };
            if !std::mem::replace(&mut done, true) {
                let start = Transfer {
                    handle: handle + 100,
                    delivery_id: Some(0),
                    delivery_tag: Some(vec![0]),
                    more: true,
                    ..Transfer::default()
                };
                out.transfer(&start, b"half of it");
                out.transfer(&Transfer { handle: handle + 100, aborted: true, ..Transfer::default() }, b"");
                let next = Transfer { delivery_id: Some(1), more: false, ..start };
                out.transfer(&next, &whole);
            }
            true
        }
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 5, &deadline(&platform, 10)).expect("attached");
    let delivery = client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").expect("the second");
    assert_eq!(delivery.payload, whole);
}

#[test]
fn a_large_request_is_sent_in_frames_that_the_peer_takes() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        match seen {
            Seen::Frame(_, Performative::Open(_), _) => {
                out.frame(&Performative::Open(Open { max_frame_size: Some(512), ..peer::good_open() }));
            }
            Seen::Frame(_, Performative::Transfer(_), _) => {}
            _ => return false,
        }
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&LinkOptions::sender("s", "$cbs"), 0, &deadline(&platform, 10)).expect("attached");
    let sent = message(3, 5_000);
    client.send(link, sent.clone()).expect("queued");
    assert_eq!(client.receive(link, Duration::MAX, &deadline(&platform, 1)).expect("no error"), None);
    let state = peer.state.borrow();
    let mut whole = Vec::new();
    let mut more = Vec::new();
    for seen in &state.seen {
        if let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen {
            assert!(payload.len() + 64 <= 512);
            assert_eq!(transfer.delivery_id, Some(0));
            assert_eq!(transfer.delivery_tag.is_some(), whole.is_empty());
            more.push(transfer.more);
            whole.extend_from_slice(payload);
        }
    }
    assert_eq!(whole, sent);
    assert_eq!(more.iter().filter(|more| !**more).count(), 1);
}

#[test]
fn heartbeats_go_out_at_half_the_peers_time_out() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| match seen {
        Seen::Frame(_, Performative::Open(_), _) => {
            out.frame(&Performative::Open(Open { idle_time_out: Some(20_000), ..peer::good_open() }));
            true
        }
        // The server sends heartbeats, too.
        Seen::Empty => {
            out.raw(&[0, 0, 0, 8, 2, 0, 0, 0]);
            true
        }
        _ => false,
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 5, &deadline(&platform, 10)).expect("attached");
    assert_eq!(client.receive(link, Duration::MAX, &deadline(&platform, 95)).expect("no error"), None);
    let beats = peer.state.borrow().seen.iter().filter(|seen| **seen == Seen::Empty).count();
    assert_eq!(beats, 9);
    assert_eq!(platform.monotonic(), NOW + Duration::from_secs(95));
}

#[test]
fn a_silent_peer_is_given_up() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| match seen {
        Seen::Frame(_, Performative::Open(_), _) => {
            out.frame(&Performative::Open(Open { idle_time_out: None, ..peer::good_open() }));
            true
        }
        _ => false,
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 5, &deadline(&platform, 10)).expect("attached");
    let error = client.receive(link, Duration::MAX, &deadline(&platform, 600)).expect_err("given up");
    assert_eq!(error, Error::Silent(Duration::from_secs(60)));
    assert_eq!(platform.monotonic(), NOW + Duration::from_secs(60));
}

#[test]
fn a_detach_is_answered_and_reported_after_the_messages_before_it() {
    let platform = platform();
    let stolen = crate::amqp::RemoteError { condition: "amqp:link:stolen".into(), ..Default::default() };
    let error = stolen.clone();
    let peer = Peer::new(&platform, move |seen, out| {
        let Seen::Frame(_, Performative::Flow(Flow { handle: Some(handle), .. }), _) = seen else { return false };
        out.deliver(*handle, &message(1, 10), 1_000);
        out.frame(&Performative::Detach(Detach { handle: handle + 100, closed: true, error: Some(error.clone()) }));
        out.links.remove(handle);
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 5, &deadline(&platform, 10)).expect("attached");
    assert!(client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").is_some());
    for _ in 0..2 {
        let error = client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect_err("gone");
        assert_eq!(error, Error::Detached(Some(stolen.clone())));
    }
    // The connection can still attach another link.
    client.attach(&LinkOptions::receiver("r2", "x"), 1, &deadline(&platform, 5)).expect("attached");
    assert!(peer.frames().iter().any(|frame| matches!(frame, Performative::Detach(Detach { closed: true, .. }))));
}

#[test]
fn messages_before_a_close_are_not_lost() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Flow(Flow { handle: Some(handle), .. }), _) = seen else { return false };
        out.deliver(*handle, &message(1, 10), 1_000);
        out.frame(&Performative::Close(Some(crate::amqp::RemoteError {
            condition: "amqp:connection:forced".into(),
            ..Default::default()
        })));
        out.ends = true;
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&receiver(), 5, &deadline(&platform, 10)).expect("attached");
    assert!(client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").is_some());
    let error = client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect_err("closed");
    assert_eq!(error.remote().map(|error| error.condition.as_str()), Some("amqp:connection:forced"));
    assert!(peer.frames().iter().any(|frame| matches!(frame, Performative::Close(None))), "answered");
}

#[test]
fn a_redirect_is_typed_whether_the_attach_comes_first_or_not() {
    for attach_first in [true, false] {
        let platform = platform();
        let peer = Peer::new(&platform, move |seen, out| {
            let Seen::Frame(_, Performative::Attach(attach), _) = seen else { return false };
            let refused = Attach {
                handle: 100,
                role: Role::Sender,
                source: if attach_first { attach.source.clone() } else { None },
                ..(**attach).clone()
            };
            out.frame(&Performative::Attach(Box::new(refused)));
            let info = vec![
                (Value::symbol("hostname"), Value::from("other.servicebus.windows.net")),
                (Value::symbol("port"), Value::Int(5671)),
            ];
            let error = crate::amqp::RemoteError { condition: "amqp:link:redirect".into(), description: None, info };
            out.frame(&Performative::Detach(Detach { handle: 100, closed: true, error: Some(error) }));
            true
        });
        let mut client = open(&platform, &peer).expect("open");
        let attached = client.attach(&receiver(), 1, &deadline(&platform, 5));
        let error = match attached {
            Ok(link) => client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect_err("redirected"),
            Err(error) => error,
        };
        assert_eq!(error.redirect().expect("typed").hostname, "other.servicebus.windows.net");
    }
}

fn claim<'s>(client: &mut Client, platform: &crate::platform::fake::FakePlatform) -> crate::amqp::Result<Claim<'s>> {
    let sign = |now: Duration| (Secret::new(format!("token at {}", now.as_secs())), now + Duration::from_secs(3_600));
    Claim::put(client, "sb://ns/h".into(), Box::new(sign), &deadline(platform, 10))
}

#[test]
fn a_token_is_put_and_put_again_before_it_expires() {
    let platform = platform();
    let peer = Peer::good(&platform);
    let mut client = open(&platform, &peer).expect("open");
    let mut kept = claim(&mut client, &platform).expect("put");
    let tokens = || {
        let state = peer.state.borrow();
        let requests = state.seen.iter().filter_map(|seen| match seen {
            Seen::Frame(_, Performative::Transfer(_), payload) => Some(Message::decode(payload).expect("a request")),
            _ => None,
        });
        requests.collect::<Vec<_>>()
    };
    platform.now.set(NOW + Duration::from_secs(3_239));
    kept.keep(&mut client, &deadline(&platform, 10)).expect("not due");
    assert_eq!(tokens().len(), 1);
    // Ninety percent of the token's lifetime are over. Nobody drove the connection in this time, so it does not count
    // as the peer's silence.
    platform.now.set(NOW + Duration::from_secs(3_240));
    kept.keep(&mut client, &deadline(&platform, 10)).expect("renewed");
    assert_eq!(tokens().len(), 2);
    let request = tokens().remove(0);
    assert_eq!(request.property("operation"), Some(&Value::from("put-token")));
    assert_eq!(request.property("type"), Some(&Value::from("servicebus.windows.net:sastoken")));
    assert_eq!(request.property("name"), Some(&Value::from("sb://ns/h")));
    assert_eq!(request.body, Body::Value(Value::string(format!("token at {}", NOW.as_secs()))));
    assert!(request.properties.reply_to.is_some() && request.properties.message_id.is_some());
}

/// A clock that jumps ahead causes one more token. A clock that jumps back causes no early token, because the current
/// one is still valid.
#[test]
fn a_clock_that_jumps_puts_one_more_token_at_the_most() {
    for (jump, expected) in [(86_400, 2), (-86_400, 1)] {
        let platform = platform();
        let peer = Peer::good(&platform);
        let mut client = open(&platform, &peer).expect("open");
        let mut kept = claim(&mut client, &platform).expect("put");
        platform.jump.set(jump);
        for second in 1..10 {
            platform.now.set(NOW + Duration::from_secs(second));
            kept.keep(&mut client, &deadline(&platform, 10)).expect("kept");
        }
        let state = peer.state.borrow();
        let put = state.seen.iter().filter(|seen| matches!(seen, Seen::Frame(_, Performative::Transfer(_), _)));
        assert_eq!(put.count(), expected, "{jump}");
    }
}

#[test]
fn a_refused_token_has_its_status() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen else { return false };
        let fields = vec![
            ("statusCode".into(), Value::Int(401)),
            ("statusDescription".into(), "InvalidSignature TrackingId:t_G1".into()),
        ];
        peer::reply(transfer, payload, fields, Body::Value(Value::Null), out);
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    match claim(&mut client, &platform).err().expect("refused") {
        Error::Answered(error) => {
            assert_eq!((error.status, error.node), (401, "$cbs"));
            assert_eq!(error.tracking_id().as_deref(), Some("t_G1"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rejected_request_is_refused_at_once() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Transfer(transfer), _) = seen else { return false };
        let error = crate::amqp::RemoteError { condition: "amqp:not-allowed".into(), ..Default::default() };
        out.frame(&Performative::Disposition(Disposition {
            role: Role::Receiver,
            first: transfer.delivery_id.expect("numbered"),
            last: None,
            settled: false,
            state: Some(Outcome::Rejected(Some(error))),
        }));
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let error = claim(&mut client, &platform).err().expect("refused");
    assert!(matches!(error, Error::Refused(Some(_))), "{error:?}");
    client.close(&deadline(&platform, 1));
    let settled = peer
        .frames()
        .iter()
        .any(|frame| matches!(frame, Performative::Disposition(Disposition { role: Role::Sender, settled: true, .. })));
    assert!(settled, "what the peer left unsettled is settled by us");
}

#[test]
fn an_answer_to_another_request_is_passed_over() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Transfer(transfer), payload) = seen else { return false };
        let mut stray =
            Message { application_properties: vec![("status-code".into(), Value::Int(500))], ..Message::default() };
        stray.properties.correlation_id = Some(Value::from("another"));
        let handle = out.link(Role::Receiver, "$management");
        out.deliver(handle, &stray.encode(), 1_000);
        let map = Value::Map(vec![("name".into(), "h".into())]);
        peer::reply(transfer, payload, vec![("status-code".into(), Value::Int(200))], Body::Value(map), out);
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let mut management = Management::open(&mut client, &deadline(&platform, 5)).expect("attached");
    let maps = management.read(&mut client, vec![Vec::new()], &deadline(&platform, 5)).expect("the right answer");
    assert_eq!(maps[0].get("name"), Some(&Value::from("h")));
}

#[test]
fn drained_and_absurd_credit_is_taken_as_it_is_meant() {
    for (count, credit, drain) in
        [(0, u32::MAX, false), (u32::MAX, 5, false), (7, 5, false), (0, 0, true), (0, 9, true)]
    {
        let platform = platform();
        let peer = Peer::new(&platform, move |seen, out| {
            let Seen::Frame(_, Performative::Attach(attach), _) = seen else { return false };
            let mirrored = Attach { handle: 100, role: Role::Receiver, ..(**attach).clone() };
            out.frame(&Performative::Attach(Box::new(mirrored)));
            out.frame(&Performative::Flow(Flow {
                next_incoming_id: Some(0),
                incoming_window: 10,
                handle: Some(100),
                delivery_count: Some(count),
                link_credit: Some(credit),
                drain,
                echo: true,
                ..Flow::default()
            }));
            true
        });
        let mut client = open(&platform, &peer).expect("open");
        let link = client.attach(&LinkOptions::sender("s", "x"), 0, &deadline(&platform, 5)).expect("attached");
        assert_eq!(client.receive(link, Duration::MAX, &deadline(&platform, 1)).expect("no error"), None);
        let flow = peer.frames().into_iter().find_map(|frame| match frame {
            Performative::Flow(flow) => Some(flow),
            _ => None,
        });
        let flow = flow.expect("an echo");
        let left = flow.link_credit.expect("credit");
        let expected = match (count, credit, drain) {
            (_, _, true) => 0,
            // The receiver counts one message fewer than we have sent, or seven more, which is impossible.
            (u32::MAX, credit, _) => credit - 1,
            (7, ..) => 0,
            _ => credit,
        };
        assert_eq!(left, expected, "{count} {credit} {drain}");
        if drain {
            assert_eq!(flow.delivery_count, Some(credit), "a drained link counts on");
        }
    }
}

#[test]
fn waiting_for_credit_names_itself() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Attach(attach), _) = seen else { return false };
        if attach.role == Role::Receiver {
            return false;
        }
        let mirrored = Attach { handle: attach.handle + 100, role: Role::Receiver, ..(**attach).clone() };
        out.frame(&Performative::Attach(Box::new(mirrored)));
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    assert_eq!(claim(&mut client, &platform).err(), Some(Error::Timeout(Stage::Credit)));
}

#[test]
fn links_and_queues_are_bounded() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, _| matches!(seen, Seen::Frame(_, Performative::Attach(_), _)));
    let mut client = open(&platform, &peer).expect("open");
    let mut links = Vec::new();
    let error = loop {
        match client.start_attach(&LinkOptions::sender(format!("s{}", links.len()), "x"), 0) {
            Ok(link) => links.push(link),
            Err(error) => break error,
        }
    };
    assert_eq!((links.len(), error), (72, Error::Limit("links of a connection")));
    let sent = (0..100).take_while(|_| client.send(links[0], vec![0]).is_ok()).count();
    assert_eq!(sent, 16);
}

#[test]
fn a_stuck_peer_does_not_hold_a_writer() {
    let platform = platform();
    let peer = Peer::good(&platform);
    let mut client = open(&platform, &peer).expect("open");
    peer.state.borrow_mut().stuck = true;
    let error = client.attach(&receiver(), 1, &deadline(&platform, 3)).expect_err("stuck");
    assert_eq!(error, Error::Timeout(Stage::Write));
    client.close(&deadline(&platform, 60));
    assert!(platform.monotonic() <= NOW + Duration::from_secs(4));
}

#[test]
fn violations_are_reported_to_the_peer() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Attach(_), _) = seen else { return false };
        out.transfer(&Transfer { handle: 9, delivery_id: Some(0), ..Transfer::default() }, b"");
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let error = client.attach(&receiver(), 1, &deadline(&platform, 3)).expect_err("a violation");
    assert_eq!(error, Error::Peer(Misbehaviour::Handle(9)));
    let reported = peer.frames().into_iter().find_map(|frame| match frame {
        Performative::Close(error) => error,
        _ => None,
    });
    assert_eq!(reported.map(|error| error.condition), Some("amqp:session:unattached-handle".to_owned()));
}
