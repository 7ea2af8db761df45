//! How long the client waits, and which session a link is in.

use std::time::Duration;

use super::peer::{self, Peer, Seen, deadline, good_open, open, platform};
use crate::amqp::error::{Error, RemoteError};
use crate::amqp::link::LinkOptions;
use crate::amqp::management::Management;
use crate::amqp::message::{Body, Message};
use crate::amqp::performative::*;
use crate::amqp::stage::Stage;
use crate::platform::Platform;

fn is_of_events(link: &Attach) -> bool {
    link.role == Role::Receiver && link.name.starts_with("events")
}

/// A peer that sends messages without end, each as soon as there is credit for it.
fn endless(platform: &std::rc::Rc<crate::platform::fake::FakePlatform>) -> Peer {
    let mut sent = 0_u32;
    Peer::new(platform, move |seen, out| {
        let Seen::Frame(_, Performative::Flow(flow), _) = seen else { return false };
        let (Some(handle), Some(count), Some(credit)) = (flow.handle, flow.delivery_count, flow.link_credit) else {
            return false;
        };
        let here = out.links.get(&handle).is_some_and(is_of_events);
        while here && sent < count + credit {
            let message = Message { body: Body::Data(vec![vec![7; 10]]), ..Message::default() };
            out.deliver(handle, &message.encode(), 1_000);
            sent += 1;
        }
        here
    })
}

/// The credit for the next messages is written even if the caller does not wait for messages: after the deadline
/// nothing can be written.
#[test]
fn a_receive_that_does_not_wait_still_writes() {
    for prefetch in [1, 2, 3, 24] {
        let platform = platform();
        let peer = endless(&platform);
        let mut client = open(&platform, &peer).expect("open");
        let link =
            client.attach(&LinkOptions::receiver("events", "x"), prefetch, &deadline(&platform, 5)).expect("link");
        let whole = deadline(&platform, 30);
        let mut received = 0;
        for _ in 0..500 {
            received += usize::from(client.receive(link, Duration::ZERO, &whole).expect("no timeout").is_some());
            client.wait(&[link], Duration::ZERO, &whole).expect("no timeout");
        }
        assert!(received >= 100, "{received} with {prefetch} ahead");
        assert_eq!(platform.monotonic(), peer::NOW, "nothing was waited for");
    }
}

/// If the peer reads nothing, the call ends by its deadline with a timeout error.
#[test]
fn a_peer_that_takes_nothing_is_a_timeout_of_the_call() {
    let platform = platform();
    let peer = endless(&platform);
    let mut client = open(&platform, &peer).expect("open");
    let link = client.attach(&LinkOptions::receiver("events", "x"), 3, &deadline(&platform, 5)).expect("link");
    client.receive(link, Duration::MAX, &deadline(&platform, 5)).expect("no error").expect("a message");
    peer.state.borrow_mut().stuck = true;
    let error = loop {
        match client.receive(link, Duration::ZERO, &deadline(&platform, 30)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Timeout(Stage::Write));
    assert_eq!(platform.monotonic(), peer::NOW + Duration::from_secs(30));
}

/// Each conversation has its own session if the peer accepts that many sessions. If the peer accepts two sessions, one
/// is reserved for requests.
#[test]
fn sessions_are_as_many_as_the_peer_takes() {
    for (channel_max, expected) in [(4_999, vec![0, 1, 2]), (1, vec![0, 0, 1]), (0, vec![0, 0, 0])] {
        let platform = platform();
        let peer = Peer::new(&platform, move |seen, out| {
            let is_open = matches!(seen, Seen::Frame(_, Performative::Open(_), _));
            if is_open {
                out.frame(&Performative::Open(Open { channel_max: Some(channel_max), ..good_open() }));
            }
            is_open
        });
        let mut client = open(&platform, &peer).expect("open");
        let until = deadline(&platform, 5);
        client.attach(&LinkOptions::receiver("events-0", "x"), 1, &until).expect("a link");
        client.attach(&LinkOptions::receiver("events-1", "y"), 1, &until).expect("a link");
        Management::open(&mut client, &until).expect("two links");
        let state = peer.state.borrow();
        let attached = state.seen.iter().filter_map(|seen| match seen {
            Seen::Frame(channel, Performative::Attach(_), _) => Some(*channel),
            _ => None,
        });
        let attached: Vec<u16> = attached.collect();
        assert_eq!(attached[2], attached[3], "both ends of a conversation are in one session");
        assert_eq!(attached[..3], expected, "{channel_max}");
    }
}

/// If the peer refuses one end of a conversation, the client does not wait for the other end.
#[test]
fn a_conversation_of_which_one_end_is_refused_ends_at_once() {
    let platform = platform();
    let peer = Peer::new(&platform, |seen, out| {
        let Seen::Frame(_, Performative::Attach(attach), _) = seen else { return false };
        if attach.role == Role::Receiver {
            peer::answer_attach(attach, out);
            let error = RemoteError { condition: "amqp:not-allowed".into(), ..RemoteError::default() };
            let handle = attach.handle + 100;
            out.frame(&Performative::Detach(Detach { handle, closed: true, error: Some(error) }));
        }
        true
    });
    let mut client = open(&platform, &peer).expect("open");
    let error = Management::open(&mut client, &deadline(&platform, 5)).expect_err("refused");
    assert!(matches!(&error, Error::Detached(Some(said)) if said.condition == "amqp:not-allowed"), "{error:?}");
    assert_eq!(platform.monotonic(), peer::NOW, "nothing was waited for");
}
