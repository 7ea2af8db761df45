//! Broken, hostile or silent servers: each conversation must end in a typed error by the deadline, and never in a
//! panic.

use std::time::Duration;

use super::peer::{self, NOW, Out, Peer, Seen, deadline, open, platform};
use crate::amqp::codec::{DecodeError, Value, encode};
use crate::amqp::error::{Error, Misbehaviour};
use crate::amqp::frame::{self, SASL_HEADER, TYPE_AMQP, TYPE_SASL};
use crate::amqp::link::LinkOptions;
use crate::amqp::performative::*;
use crate::amqp::stage::Stage;
use crate::platform::Platform;

/// How far the conversation gets before the server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    SaslHeader,
    Init,
    Header,
    Open,
    Begin,
    Attach,
    Flow,
}

impl At {
    fn is(self, seen: &Seen) -> bool {
        match seen {
            Seen::Header(header) if *header == SASL_HEADER => self == Self::SaslHeader,
            Seen::Header(_) => self == Self::Header,
            Seen::Frame(_, Performative::SaslInit(_), _) => self == Self::Init,
            Seen::Frame(_, Performative::Open(_), _) => self == Self::Open,
            Seen::Frame(_, Performative::Begin(_), _) => self == Self::Begin,
            Seen::Frame(_, Performative::Attach(_), _) => self == Self::Attach,
            Seen::Frame(_, Performative::Flow(_), _) => self == Self::Flow,
            _ => false,
        }
    }
}

/// Runs a conversation with a server that runs `wrong` instead of giving its answer.
fn run(at: At, wrong: impl Fn(&Seen, &mut Out) + 'static) -> Error {
    let platform = platform();
    let peer = Peer::new(&platform, move |seen, out| {
        let here = at.is(seen);
        if here {
            wrong(seen, out);
        }
        here
    });
    let result = (|| {
        let mut client = open(&platform, &peer)?;
        let link = client.attach(&LinkOptions::receiver("r1", "a"), 3, &deadline(&platform, 10))?;
        loop {
            if client.receive(link, Duration::MAX, &deadline(&platform, 10))?.is_none() {
                return Err(Error::Timeout(Stage::Message));
            }
        }
    })();
    assert!(platform.monotonic() <= NOW + std::time::Duration::from_secs(31), "{at:?}: by the deadline");
    let result: Result<(), Error> = result;
    result.expect_err("an error")
}

fn check(at: At, expected: Error, wrong: impl Fn(&Seen, &mut Out) + 'static) {
    assert_eq!(run(at, wrong), expected, "{at:?}");
}

fn peer_error(misbehaviour: Misbehaviour) -> Error {
    Error::Peer(misbehaviour)
}

fn decode(error: DecodeError) -> Error {
    Error::Peer(Misbehaviour::Decode(error))
}

/// A frame with this body.
fn body(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_frame(kind, 0, &mut out, |out| out.extend_from_slice(bytes));
    out
}

fn composite(code: u64, fields: Vec<Value>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&Value::described(code, Value::List(fields)), &mut out);
    out
}

fn handle_of(seen: &Seen) -> u32 {
    match seen {
        Seen::Frame(_, Performative::Flow(flow), _) => flow.handle.unwrap_or_default() + 100,
        _ => 100,
    }
}

#[test]
fn silence_ends_at_the_deadline_and_names_its_place() {
    for (at, stage) in [
        (At::SaslHeader, Stage::Header),
        (At::Init, Stage::Sasl),
        (At::Header, Stage::Header),
        (At::Open, Stage::Open),
        (At::Begin, Stage::Begin),
        (At::Attach, Stage::Attach),
        (At::Flow, Stage::Message),
    ] {
        // The header is left out, so the open frame arrives where a header is expected.
        if at == At::Header {
            let error = run(at, |_, _| ());
            assert!(matches!(error, Error::Peer(Misbehaviour::ProtocolHeader(_))), "{error:?}");
        } else if at == At::Open {
            let error = run(at, |_, _| ());
            assert_eq!(error, peer_error(Misbehaviour::Unexpected("a frame before the session has begun")));
        } else {
            check(at, Error::Timeout(stage), |_, _| ());
        }
    }
}

#[test]
fn a_hang_up_is_distinguished_from_silence() {
    for (at, stage) in [
        (At::SaslHeader, Stage::Header),
        (At::Init, Stage::Sasl),
        (At::Begin, Stage::Begin),
        (At::Attach, Stage::Message),
        (At::Flow, Stage::Message),
    ] {
        check(at, Error::Disconnected(stage), |_, out| out.ends = true);
    }
}

#[test]
fn other_protocols_are_recognised_by_their_first_bytes() {
    for (bytes, kept) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &b"HTTP/1.1"[..]),
        (b"AMQP\x00\x00\x09\x01", b"AMQP\x00\x00\x09\x01"),
        (b"AMQP\x00\x01\x00\x00", b"AMQP\x00\x01\x00\x00"),
        (b"AMQP\x02\x01\x00\x00", b"AMQP\x02\x01\x00\x00"),
        (b"\x15\x03\x03", b"\x15\x03\x03"),
        (b"X", b"X"),
    ] {
        let expected = peer_error(Misbehaviour::ProtocolHeader(kept.to_vec()));
        check(At::SaslHeader, expected, move |_, out| out.raw(bytes));
    }
    let expected = peer_error(Misbehaviour::ProtocolHeader(SASL_HEADER.to_vec()));
    check(At::Header, expected, |_, out| out.raw(&SASL_HEADER));
}

#[test]
fn sasl_goes_wrong_in_many_ways() {
    let mechanisms = |names: &'static [&'static str]| {
        move |_: &Seen, out: &mut Out| {
            out.raw(&SASL_HEADER);
            out.sasl(&Performative::SaslMechanisms(names.iter().map(|name| (*name).to_owned()).collect()));
        }
    };
    check(At::SaslHeader, Error::NoMechanism(vec![]), mechanisms(&[]));
    check(At::SaslHeader, Error::NoMechanism(vec!["GSSAPI".into()]), mechanisms(&["GSSAPI"]));
    for code in 1..=4 {
        check(At::Init, Error::Sasl(code), move |_, out| out.sasl(&Performative::SaslOutcome(code)));
    }
    check(At::Init, Error::Sasl(255), |_, out| out.sasl(&Performative::SaslOutcome(255)));
    check(At::Init, decode(DecodeError::Field("code")), |_, out| {
        out.raw(&body(TYPE_SASL, &composite(0x44, vec![Value::Null])));
    });
    check(At::Init, peer_error(Misbehaviour::Unexpected("a SASL frame out of order")), |_, out| {
        out.sasl(&Performative::SaslMechanisms(vec!["PLAIN".into()]));
    });
    check(At::Init, peer_error(Misbehaviour::Unexpected("a frame of the other layer")), |_, out| {
        out.frame(&Performative::Open(peer::good_open()));
    });
    check(At::Init, decode(DecodeError::Composite), |_, out| out.raw(&body(TYPE_SASL, &composite(0x99, vec![]))));
    // A server that sends challenges without end.
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let asks = matches!(seen, Seen::Frame(_, Performative::SaslInit(_) | Performative::SaslResponse(_), _));
        if asks {
            out.sasl(&Performative::SaslChallenge(vec![1, 2, 3]));
        }
        asks
    });
    assert_eq!(open(&platform, &peer).err(), Some(peer_error(Misbehaviour::SaslRounds)));
}

#[test]
fn frames_are_bounded_before_they_are_kept() {
    let too_large = |size| peer_error(Misbehaviour::FrameTooLarge { size, limit: 65_536 });
    for at in [At::Init, At::Open, At::Attach, At::Flow] {
        check(at, too_large(65_537), |_, out| out.raw(&[0, 1, 0, 1]));
        check(at, too_large(u32::MAX), |_, out| out.raw(&[0xff; 8]));
        check(at, peer_error(Misbehaviour::FrameHeader), |_, out| out.raw(&[0, 0, 0, 0]));
        check(at, peer_error(Misbehaviour::FrameHeader), |_, out| out.raw(&[0, 0, 0, 8, 1, 0, 0, 0]));
        check(at, peer_error(Misbehaviour::FrameHeader), |_, out| out.raw(&[0, 0, 0, 8, 0xff, 0, 0, 0]));
        check(at, peer_error(Misbehaviour::FrameHeader), |_, out| out.raw(&[0, 0, 0, 8, 2, 7, 0, 0]));
    }
    // A frame whose end never arrives.
    check(At::Flow, Error::Timeout(Stage::Message), |_, out| out.raw(&[0, 0, 255, 255, 2, 0, 0, 0]));
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    let cases: Vec<(Vec<u8>, DecodeError)> = vec![
        (vec![0x40], DecodeError::Composite),
        (vec![0x00, 0x53], DecodeError::Truncated),
        (vec![0x00, 0x53, 0x13], DecodeError::Truncated),
        (vec![0x00, 0x53, 0x13, 0x40], DecodeError::Composite),
        (vec![0x00, 0x53, 0x13, 0x3f], DecodeError::UnknownFormat(0x3f)),
        (vec![0x00, 0x53, 0x13, 0xd0, 0xff, 0xff, 0xff, 0xff], DecodeError::Truncated),
        (vec![0x00, 0x53, 0x13, 0xd0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40], DecodeError::Memory),
        (vec![0x00, 0x53, 0x13, 0xc0, 2, 200, 0x40], DecodeError::Size),
        (vec![0x00, 0x53, 0x13, 0xc0, 3, 1, 0x40, 0x40], DecodeError::Size),
        (vec![0x00, 0x00, 0x53, 0x13, 0x45], DecodeError::Composite),
        (vec![0x00, 0x53, 0x7f, 0x45], DecodeError::Composite),
        (composite(0x13, vec![]), DecodeError::Field("incoming-window")),
        (composite(0x13, vec![Value::Null, Value::Int(-1)]), DecodeError::Field("incoming-window")),
        (composite(0x13, vec![Value::Null, Value::Long(5)]), DecodeError::Field("incoming-window")),
        (composite(0x14, vec![Value::Uint(0), Value::string("one")]), DecodeError::Field("delivery-id")),
        (composite(0x12, vec![Value::symbol("name")]), DecodeError::Field("name")),
        (composite(0x16, vec![Value::Uint(1), Value::Boolean(true), Value::from("why")]), DecodeError::Field("error")),
        (composite(0x18, vec![Value::described(0x1d, Value::List(vec![]))]), DecodeError::Field("condition")),
    ];
    for (bytes, error) in cases {
        let frame = body(TYPE_AMQP, &bytes);
        check(At::Flow, decode(error), move |_, out| out.raw(&frame));
    }
    let mut deep = vec![0x00, 0x53, 0x13];
    for level in (0..60_u8).rev() {
        deep.extend([0xc0, level * 3 + 2, 1]);
    }
    deep.push(0x40);
    let frame = body(TYPE_AMQP, &deep);
    check(At::Flow, decode(DecodeError::TooDeep), move |_, out| out.raw(&frame));
}

#[test]
fn terms_that_cannot_be_met_are_refused() {
    check(At::Open, peer_error(Misbehaviour::Terms("largest frame")), |_, out| {
        out.frame(&Performative::Open(Open { max_frame_size: Some(511), ..peer::good_open() }));
    });
    check(At::Open, peer_error(Misbehaviour::Terms("idle time-out")), |_, out| {
        out.frame(&Performative::Open(Open { idle_time_out: Some(1), ..peer::good_open() }));
    });
    check(At::Begin, peer_error(Misbehaviour::Unexpected("a session that was not asked for")), |_, out| {
        out.frame(&Performative::Begin(peer::good_begin(7)));
    });
    check(At::Begin, peer_error(Misbehaviour::Unexpected("a session that was not asked for")), |_, out| {
        out.frame(&Performative::Begin(Begin { remote_channel: None, ..peer::good_begin(0) }));
    });
}

#[test]
fn frames_out_of_order_are_refused() {
    let before = || peer_error(Misbehaviour::Unexpected("a frame before the session has begun"));
    check(At::Open, before(), |_, out| out.frame(&Performative::Begin(peer::good_begin(0))));
    check(At::Open, before(), |_, out| out.frame(&Performative::Flow(Flow::default())));
    check(At::Begin, before(), |_, out| out.transfer(&Transfer::default(), b"x"));
    check(At::Attach, peer_error(Misbehaviour::Unexpected("a second open")), |_, out| {
        out.frame(&Performative::Open(peer::good_open()));
    });
    check(At::Attach, peer_error(Misbehaviour::Unexpected("a second begin")), |_, out| {
        out.frame(&Performative::Begin(peer::good_begin(0)));
    });
    check(At::Attach, peer_error(Misbehaviour::Unexpected("a SASL frame")), |_, out| {
        out.frame(&Performative::SaslOutcome(0));
    });
    check(At::Attach, peer_error(Misbehaviour::Unexpected("a frame of the other layer")), |_, out| {
        out.sasl(&Performative::SaslOutcome(0));
    });
    check(At::Attach, peer_error(Misbehaviour::Channel(3)), |_, out| {
        let mut bytes = Vec::new();
        frame::write_frame(TYPE_AMQP, 3, &mut bytes, |out| Performative::Flow(Flow::default()).encode(out));
        out.raw(&bytes);
    });
}

#[test]
fn links_that_are_not_ours_are_refused() {
    let attach = |seen: &Seen| match seen {
        Seen::Frame(_, Performative::Attach(attach), _) => (**attach).clone(),
        other => panic!("{other:?}"),
    };
    check(At::Attach, peer_error(Misbehaviour::UnknownLink), move |seen, out| {
        out.frame(&Performative::Attach(Box::new(Attach { name: "other".into(), role: Role::Sender, ..attach(seen) })));
    });
    check(At::Attach, peer_error(Misbehaviour::UnknownLink), move |seen, out| {
        out.frame(&Performative::Attach(Box::new(attach(seen))));
    });
    check(At::Attach, peer_error(Misbehaviour::Unexpected("a handle that is in use")), move |seen, out| {
        let good = Attach { role: Role::Sender, ..attach(seen) };
        out.frame(&Performative::Attach(Box::new(good.clone())));
        out.frame(&Performative::Attach(Box::new(good)));
    });
    check(At::Attach, peer_error(Misbehaviour::Handle(77)), |_, out| {
        out.frame(&Performative::Detach(Detach { handle: 77, closed: true, error: None }));
    });
    check(At::Flow, peer_error(Misbehaviour::Handle(5)), |_, out| {
        out.frame(&Performative::Flow(Flow { handle: Some(5), next_incoming_id: Some(0), ..Flow::default() }));
    });
}

#[test]
fn credit_and_windows_are_kept() {
    let transfer = |seen: &Seen, id: u32| Transfer {
        handle: handle_of(seen),
        delivery_id: Some(id),
        delivery_tag: Some(vec![1]),
        settled: Some(true),
        ..Transfer::default()
    };
    // Four messages at once for a credit of three.
    let error = run(At::Flow, move |seen, out| {
        for id in 0..4 {
            out.transfer(&transfer(seen, id), b"\x00\x53\x75\xa0\x00");
        }
    });
    assert_eq!(error, peer_error(Misbehaviour::Credit));
    check(At::Flow, peer_error(Misbehaviour::Delivery), move |seen, out| {
        out.transfer(&Transfer { delivery_id: None, ..transfer(seen, 0) }, b"");
    });
    check(At::Flow, peer_error(Misbehaviour::Delivery), move |seen, out| {
        out.transfer(&Transfer { more: true, ..transfer(seen, 0) }, b"a");
        out.transfer(&transfer(seen, 1), b"b");
    });
    check(At::Flow, peer_error(Misbehaviour::Credit), |seen, out| {
        let skips = Flow {
            handle: Some(handle_of(seen)),
            delivery_count: Some(9),
            next_incoming_id: Some(0),
            ..Flow::default()
        };
        out.frame(&Performative::Flow(skips));
    });
    check(At::Flow, peer_error(Misbehaviour::Window), |_, out| {
        out.frame(&Performative::Flow(Flow { next_incoming_id: Some(5), ..Flow::default() }));
    });
    let limit = crate::amqp::link::LARGEST_MESSAGE;
    check(At::Flow, Error::MessageTooLarge { limit }, move |seen, out| {
        for _ in 0..40 {
            out.transfer(&Transfer { more: true, delivery_id: None, ..transfer(seen, 0) }.with_first(), &[0; 60_000]);
        }
    });
}

#[test]
fn errors_of_the_peer_are_reported_as_they_are() {
    let error = crate::amqp::RemoteError {
        condition: "amqp:internal-error".into(),
        description: Some("sorry".into()),
        info: vec![(Value::symbol("com.microsoft:tracking-id"), Value::from("t"))],
    };
    for at in [At::Open, At::Begin, At::Attach, At::Flow] {
        let said = error.clone();
        check(at, Error::Closed(Some(error.clone())), move |_, out| {
            if at == At::Open {
                out.frame(&Performative::Open(peer::good_open()));
            }
            out.frame(&Performative::Close(Some(said.clone())));
        });
    }
    let said = error.clone();
    check(At::Attach, Error::Ended(Some(error)), move |_, out| out.frame(&Performative::End(Some(said.clone()))));
    check(At::Attach, Error::Closed(None), |_, out| out.frame(&Performative::Close(None)));
}

#[test]
fn an_error_stays_the_same() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let here = At::Attach.is(seen);
        if here {
            out.raw(&[0, 0, 0, 1]);
        }
        here
    });
    let mut client = open(&platform, &peer).expect("open");
    for _ in 0..3 {
        let error = client.attach(&LinkOptions::receiver("r", "a"), 1, &deadline(&platform, 5)).expect_err("broken");
        assert_eq!(error, peer_error(Misbehaviour::FrameHeader));
    }
}

/// Random bytes in every phase: they cause an error or nothing, never a panic, and no more than one frame is kept in
/// memory.
#[test]
fn noise_does_no_harm() {
    use crate::amqp::connection::Connection;
    use proptest::prelude::*;

    let mut start = Out::default();
    start.raw(&SASL_HEADER);
    start.sasl(&Performative::SaslMechanisms(vec!["ANONYMOUS".into()]));
    start.sasl(&Performative::SaslOutcome(0));
    start.raw(b"AMQP\x00\x01\x00\x00");
    start.frame(&Performative::Open(peer::good_open()));
    start.frame(&Performative::Begin(peer::good_begin(0)));
    let start = start.take();
    let frames = || {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            (0x10_u8..0x19, proptest::collection::vec(any::<u8>(), 0..48)).prop_map(|(code, fields)| {
                let mut list = vec![0x00, 0x53, code, 0xc0, u8::try_from(fields.len() + 1).expect("short"), 8];
                list.extend(fields);
                body(TYPE_AMQP, &list)
            }),
            (0x10_u64..0x19, proptest::collection::vec(crate::amqp::codec::tests::value(), 0..12))
                .prop_map(|(code, fields)| body(TYPE_AMQP, &composite(code, fields))),
        ]
    };
    proptest!(|(cut in 0..=start.len(), noise in proptest::collection::vec(frames(), 1..8))| {
        let mut connection = Connection::new(peer::options(), NOW);
        let _ = connection.receive(&start[..cut], NOW);
        let link = connection.attach(&LinkOptions::receiver("r1", "a"));
        if let Ok(link) = link {
            connection.set_prefetch(link, 10);
        }
        for piece in noise {
            if connection.receive(&piece, NOW).is_err() {
                break;
            }
        }
        let _ = connection.tick(NOW);
        prop_assert!(connection.outgoing().len() < 64 * 1024);
    });
}
