//! The hub's AMQP endpoint against a scripted peer: which frames are sent, and what each answer results in.

use std::rc::Rc;
use std::time::Duration;

use super::{DeviceId, ModuleId, Recipient, ServiceEndpoint, ServiceQueue};
use crate::amqp::performative::*;
use crate::amqp::tests::peer::{Out, Peer, Seen, answer_attach, answer_request, platform};
use crate::amqp::{Body, Message, RemoteError, Value};
use crate::amqp_transport::AmqpTransport;
use crate::auth::SharedAccessKey;
use crate::error::{EffectState, ErrorCode, Retry};
use crate::eventhub::HubAddress;
use crate::platform::Platform;
use crate::platform::fake::FakePlatform;
use crate::secret::Secret;

fn endpoint(platform: &Rc<FakePlatform>, peer: &Peer) -> ServiceEndpoint<'static> {
    // The platform must outlive the connection, so it is leaked: the test's process ends soon.
    let platform: &'static FakePlatform = Box::leak(Box::new(platform.clone()));
    let hub = HubAddress { host: "plant.azure-devices.net".into(), port: 5671, transport: AmqpTransport::Tcp };
    let key = SharedAccessKey { policy: "service".into(), key: Secret::new("c2VjcmV0") };
    let deadline = platform.monotonic() + Duration::from_secs(60);
    ServiceEndpoint::over(platform, peer.clone(), &hub, &key, deadline).expect("open")
}

fn recipient() -> Recipient {
    Recipient { device: DeviceId::parse("press#17", "").expect("an id"), module: None }
}

fn message() -> Message {
    Message { body: Body::Data(vec![b"cool down".to_vec()]), ..Message::default() }
}

/// The delivery id, if the transfer is a message to a device and not one to `$cbs`.
fn is_device_bound(seen: &Seen, out: &Out) -> Option<u32> {
    let Seen::Frame(_, Performative::Transfer(transfer), _) = seen else { return None };
    let target = out.links.get(&transfer.handle)?.target.clone()?.address?;
    (target == "/messages/devicebound").then(|| transfer.delivery_id.unwrap_or_default())
}

fn states(out: &mut Out, id: u32, settled: bool, state: Option<Outcome>) {
    out.frame(&Performative::Disposition(Disposition { role: Role::Receiver, first: id, last: None, settled, state }));
}

fn error(condition: &str, code: Option<i32>) -> RemoteError {
    let info = code.map(|code| (Value::symbol("com.microsoft:error-code"), Value::Int(code)));
    RemoteError { condition: condition.into(), description: None, info: info.into_iter().collect() }
}

/// A peer that answers messages to devices as `answer` does.
fn peer(platform: &Rc<FakePlatform>, mut answer: impl FnMut(u32, &mut Out) + 'static) -> Peer {
    Peer::new(platform, move |seen, out| match is_device_bound(seen, out) {
        Some(id) => {
            answer(id, out);
            true
        }
        None => false,
    })
}

#[test]
fn a_recipient_is_an_address() {
    let device = DeviceId::parse("a%b#1", "").expect("an id");
    let mut recipient = Recipient { device, module: None };
    assert_eq!(recipient.address(), "/devices/a%25b%231/messages/devicebound");
    recipient.module = Some(ModuleId::parse("m:1", "").expect("an id"));
    assert_eq!(recipient.address(), "/devices/a%25b%231/modules/m%3A1/messages/devicebound");
}

#[test]
fn an_accepted_message_is_sent_and_the_next_one_has_a_link_of_its_own() {
    let platform = platform();
    let peer = peer(&platform, |id, out| states(out, id, true, Some(Outcome::Accepted)));
    let mut endpoint = endpoint(&platform, &peer);
    for _ in 0..40 {
        endpoint.send(&recipient(), &message()).expect("sent");
    }
    assert!(endpoint.is_sound());
    let tokens = peer.frames().into_iter().filter(|frame| matches!(frame, Performative::Attach(_))).count();
    assert_eq!(tokens, 2 + 40, "two to $cbs, one for each message, and the places of those that are gone are free");
}

/// A state before the final outcome does not end the wait.
#[test]
fn a_message_that_was_received_in_part_is_still_waited_for() {
    let platform = platform();
    let peer = peer(&platform, |id, out| {
        states(out, id, false, Some(Outcome::Other));
        states(out, id, false, None);
        states(out, id, false, Some(Outcome::Accepted));
    });
    endpoint(&platform, &peer).send(&recipient(), &message()).expect("sent");
}

#[test]
fn every_outcome_is_typed() {
    use EffectState::{None as Nothing, Unknown};
    use ErrorCode as Code;
    let rejected = |condition: &'static str, code: Option<i32>| Some(Outcome::Rejected(Some(error(condition, code))));
    let cases = [
        (rejected("amqp:not-found", Some(404_001)), Code::NotFound, Nothing, true),
        (rejected("amqp:not-found", None), Code::NotFound, Nothing, true),
        (rejected("amqp:resource-limit-exceeded", Some(403_004)), Code::QuotaExceeded, Nothing, true),
        (rejected("amqp:resource-limit-exceeded", None), Code::QuotaExceeded, Nothing, true),
        (rejected("com.microsoft:quota-exceeded", Some(403_002)), Code::QuotaExceeded, Nothing, true),
        (rejected("com.microsoft:device-container-throttled", Some(429_001)), Code::RateLimited, Nothing, true),
        (rejected("com.microsoft:argument-out-of-range", Some(403_009)), Code::InvalidInput, Nothing, true),
        (rejected("amqp:link:message-size-exceeded", Some(413_001)), Code::PayloadTooLarge, Nothing, true),
        (rejected("amqp:not-allowed", Some(403_010)), Code::Unsupported, Nothing, true),
        (Some(Outcome::Rejected(None)), Code::Unavailable, Nothing, true),
        (Some(Outcome::Released), Code::Unavailable, Nothing, true),
        (Some(Outcome::Modified), Code::Unavailable, Nothing, true),
        // The hub settled the message without an outcome: the message may be in the queue.
        (None, Code::Protocol, Unknown, false),
    ];
    for (outcome, code, effect, sound) in cases {
        let platform = platform();
        let answer = outcome.clone();
        let peer = peer(&platform, move |id, out| states(out, id, true, answer.clone()));
        let mut endpoint = endpoint(&platform, &peer);
        let error = endpoint.send(&recipient(), &message()).expect_err("refused");
        assert_eq!((error.code(), error.record().effect, endpoint.is_sound()), (code, effect, sound), "{outcome:?}");
        if code == Code::NotFound {
            assert!(error.record().message.contains("press#17"), "{}", error.record().message);
        }
    }
    let numbered = Outcome::Rejected(Some(error("amqp:not-found", Some(404_001))));
    let platform = platform();
    let peer = peer(&platform, move |id, out| states(out, id, true, Some(numbered.clone())));
    let refused = endpoint(&platform, &peer).send(&recipient(), &message()).expect_err("refused");
    let service = refused.record().service.clone().expect("what the service said");
    assert_eq!((service.status, service.code.as_deref()), (Some(404), Some("404001 amqp:not-found")));
}

#[test]
fn a_break_before_the_outcome_leaves_the_effect_unknown() {
    // The stream ends, or nothing arrives until the deadline, or the link is detached.
    type End = fn(&mut Out);
    let ends: [(End, ErrorCode, EffectState); 4] = [
        (|out| out.ends = true, ErrorCode::Unavailable, EffectState::Unknown),
        (|_| {}, ErrorCode::Timeout, EffectState::Unknown),
        (|out| detach(out, "amqp:link:detach-forced"), ErrorCode::Unavailable, EffectState::Unknown),
        (|out| detach(out, "amqp:link:message-size-exceeded"), ErrorCode::PayloadTooLarge, EffectState::None),
    ];
    for (end, code, effect) in ends {
        let platform = platform();
        let peer = peer(&platform, move |_, out| end(out));
        let mut endpoint = endpoint(&platform, &peer);
        let error = endpoint.send(&recipient(), &message()).expect_err("no outcome");
        assert_eq!((error.code(), error.record().effect, endpoint.is_sound()), (code, effect, false));
    }
}

fn detach(out: &mut Out, condition: &str) {
    let handle = out.link(Role::Sender, "/messages/devicebound");
    out.links.remove(&handle);
    let error = Some(error(condition, None));
    out.frame(&Performative::Detach(Detach { handle: handle + 100, closed: true, error }));
}

#[test]
fn without_leave_to_send_nothing_was_done() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| match seen {
        Seen::Frame(_, Performative::Attach(attach), _)
            if attach.target.as_ref().and_then(|target| target.address.as_deref()) == Some("/messages/devicebound") =>
        {
            // The link is attached, but gets no credit.
            let mirrored = Attach { handle: attach.handle + 100, role: Role::Receiver, ..(**attach).clone() };
            out.frame(&Performative::Attach(Box::new(mirrored)));
            true
        }
        _ => false,
    });
    let error = endpoint(&platform, &peer).send(&recipient(), &message()).expect_err("no credit");
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Timeout, EffectState::None));
}

#[test]
fn a_refused_token_is_refused_access() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| match seen {
        Seen::Frame(_, Performative::Transfer(transfer), payload) => {
            answer_request(transfer, payload, 401, out);
            true
        }
        _ => false,
    });
    let hub = HubAddress { host: "plant.azure-devices.net".into(), port: 5671, transport: AmqpTransport::Tcp };
    let key = SharedAccessKey { policy: "service".into(), key: Secret::new("c2VjcmV0") };
    let deadline = platform.monotonic() + Duration::from_secs(60);
    let error = ServiceEndpoint::over(&*platform, peer, &hub, &key, deadline).map(drop).expect_err("refused");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::AuthFailed, Retry::AfterReauthentication));
}

/// A queue with these bodies. It sends as many as there is credit for, and uses up the credit when it is drained.
fn queue(platform: &Rc<FakePlatform>, bodies: Vec<&'static [u8]>) -> Peer {
    let mut bodies = bodies.into_iter();
    let mut sent = 0_u32;
    Peer::new(platform, move |seen, out| match seen {
        Seen::Frame(_, Performative::Attach(attach), _) if attach.rcv_settle_mode == Some(1) => {
            assert_eq!(attach.snd_settle_mode, Some(0), "messages stay the hub's");
            answer_attach(attach, out);
            true
        }
        Seen::Frame(_, Performative::Flow(flow), _) if flow.handle.is_some_and(|handle| peeks(out, handle)) => {
            let handle = flow.handle.expect("a link");
            let until = flow.delivery_count.unwrap_or_default() + flow.link_credit.unwrap_or_default();
            while sent < until {
                let Some(body) = bodies.next() else { break };
                let message = Message { body: Body::Data(vec![body.to_vec()]), ..Message::default() };
                out.peek(handle, &message.encode());
                sent += 1;
            }
            if flow.drain {
                sent = until;
                out.frame(&Performative::Flow(Flow {
                    next_incoming_id: Some(0),
                    incoming_window: 5_000,
                    next_outgoing_id: 1,
                    outgoing_window: 5_000,
                    handle: Some(handle + 100),
                    delivery_count: Some(until),
                    link_credit: Some(0),
                    drain: true,
                    ..Flow::default()
                }));
            }
            true
        }
        _ => false,
    })
}

fn peeks(out: &Out, handle: u32) -> bool {
    out.links.get(&handle).is_some_and(|link| link.rcv_settle_mode == Some(1))
}

fn dispositions(peer: &Peer) -> Vec<Disposition> {
    let frames = peer.frames().into_iter();
    let dispositions = frames.filter_map(|frame| match frame {
        Performative::Disposition(disposition) => Some(disposition),
        _ => None,
    });
    dispositions.collect()
}

#[test]
fn notices_stay_the_hubs_until_they_are_accepted() {
    let platform = platform();
    let peer = queue(&platform, vec![b"[1]", b"[2]", b"[3]"]);
    let mut endpoint = endpoint(&platform, &peer);
    endpoint.open(ServiceQueue::Feedback).expect("attached");
    let first = endpoint.next(Duration::from_secs(1)).expect("no error").expect("a notice");
    let second = endpoint.next(Duration::from_secs(1)).expect("no error").expect("a notice");
    assert_eq!((first.body.as_slice(), second.body.as_slice()), (&b"[1]"[..], &b"[2]"[..]));
    let rest = endpoint.rest();
    assert_eq!(rest.len(), 1, "what had come is not left lying");
    assert_eq!(dispositions(&peer), [], "nothing was accepted");

    endpoint.hold(first);
    endpoint.resume(platform.monotonic() + Duration::from_secs(60));
    endpoint.open(ServiceQueue::Feedback).expect("is attached");
    let held = endpoint.held();
    assert_eq!(held.len(), 1);
    endpoint.accept(&held[0]);
    assert!(endpoint.rest().is_empty());
    let accepted = dispositions(&peer);
    assert_eq!(accepted.len(), 1);
    // The connection's first delivery was the answer of `$cbs`.
    assert_eq!((accepted[0].first, accepted[0].last, &accepted[0].state), (1, None, &Some(Outcome::Accepted)));
    assert!(endpoint.is_sound());
}

#[test]
fn a_notice_that_is_given_back_is_released() {
    let platform = platform();
    let peer = queue(&platform, vec![b"[1]"]);
    let mut endpoint = endpoint(&platform, &peer);
    endpoint.open(ServiceQueue::Feedback).expect("attached");
    let notice = endpoint.next(Duration::from_secs(1)).expect("no error").expect("a notice");
    assert!(endpoint.rest().is_empty());
    endpoint.give_back(&notice);
    endpoint.close();
    let states: Vec<_> = dispositions(&peer).into_iter().map(|it| (it.first, it.state)).collect();
    assert_eq!(states, [(1, Some(Outcome::Released))]);
}

#[test]
fn without_a_poll_under_way_the_hub_has_no_credit() {
    let platform = platform();
    let peer = queue(&platform, Vec::new());
    let mut endpoint = endpoint(&platform, &peer);
    endpoint.open(ServiceQueue::FileNotifications).expect("attached");
    let flows = |peer: &Peer| {
        let frames = peer.frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                Performative::Flow(flow) => flow.link_credit.map(|credit| (credit, flow.drain)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let before = flows(&peer);
    assert!(endpoint.next(Duration::from_millis(10)).expect("no error").is_none());
    assert!(endpoint.rest().is_empty());
    let after: Vec<_> = flows(&peer).split_off(before.len());
    assert_eq!(after, [(16, false), (16, true)], "credit is given, and taken back");
}

#[test]
fn a_peer_that_does_not_give_credit_back_is_left() {
    let platform = platform();
    let peer =
        Peer::new(&platform, |seen, _| matches!(seen, Seen::Frame(_, Performative::Flow(flow), _) if flow.drain));
    let mut endpoint = endpoint(&platform, &peer);
    endpoint.open(ServiceQueue::Feedback).expect("attached");
    assert!(endpoint.next(Duration::from_millis(10)).expect("no error").is_none());
    assert!(endpoint.rest().is_empty());
    assert!(!endpoint.is_sound(), "it is not kept, so that nothing is locked by it");
}
