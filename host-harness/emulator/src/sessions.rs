//! Which devices and modules are connected, what the hub sends to them, and how they answer direct methods.
//!
//! A device that connects over a protocol has a *link*: a channel into which the hub puts methods, changes of desired
//! properties and other notices. A device in process has a *handler* for methods. A link takes precedence.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::sync::lock;

/// A direct method, as a device receives it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MethodCall {
    /// The method's name.
    pub method: String,
    /// The payload; `null` when there is none.
    pub payload: Value,
}

impl MethodCall {
    pub(crate) fn new(method: String, payload: Value) -> Self {
        Self { method, payload }
    }
}

/// How a device reacts to a direct method.
#[derive(Clone, Debug, PartialEq)]
pub enum MethodReply {
    /// The device answers.
    Answer {
        /// The device's own status.
        status: i32,
        /// The payload, which may be any JSON value.
        payload: Value,
    },
    /// The device never answers, so the service times out.
    Silence,
}

impl MethodReply {
    /// An answer.
    pub fn answer(status: i32, payload: Value) -> Self {
        Self::Answer { status, payload }
    }

    /// An answer after this delay.
    pub async fn delayed(delay: Duration, status: i32, payload: Value) -> Self {
        tokio::time::sleep(delay).await;
        Self::Answer { status, payload }
    }
}

/// What the hub sends to a connected device or module.
#[derive(Debug)]
pub(crate) enum ToDevice {
    /// A direct method. The device answers by the request id, see [`Sessions::answer`].
    Method {
        /// The id that the answer must repeat.
        request: String,
        /// The method.
        call: MethodCall,
    },
    /// The service wrote desired properties.
    Desired {
        /// The new version of the desired properties.
        version: u64,
        /// What was written, without `$version`.
        patch: Value,
    },
    /// A message from the cloud waits in the queue, or returned to it.
    MessageWaiting,
    /// The connection must end.
    Disconnect(Ended),
}

/// Why the hub ends a device's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The same device or module connected again.
    TakenOver,
    /// The device was disabled.
    Disabled,
    /// The device or module was deleted.
    Deleted,
    /// The keys or thumbprints changed.
    CredentialsChanged,
}

/// The hub's end of a link.
pub(crate) type LinkSink = mpsc::UnboundedSender<ToDevice>;

/// The answer to a method, when it comes.
pub(crate) type Reply = Pin<Box<dyn Future<Output = MethodReply> + Send>>;

pub(crate) type Handler = Arc<dyn Fn(MethodCall) -> Reply + Send + Sync>;

/// Which devices and modules are connected and how they answer methods. The key is that of the device's or module's
/// record, see [`crate::records::identity::Target::key`].
pub(crate) struct Sessions {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Session>,
    /// The filters that a client id is subscribed to, each with its QoS, for MQTT sessions that outlive their connection.
    subscriptions: HashMap<String, BTreeMap<String, u8>>,
    /// The number of links so far.
    links: u64,
    /// The number of method requests so far.
    requests: u64,
}

#[derive(Default)]
pub(crate) struct Session {
    /// `None` means that nobody has explicitly connected or disconnected the device.
    pub(crate) connected: Option<bool>,
    pub(crate) handler: Option<Handler>,
    link: Option<Link>,
}

struct Link {
    id: u64,
    sink: LinkSink,
    /// Whether the device receives methods; a device that does not is offline for them.
    methods: bool,
    pending: HashMap<String, oneshot::Sender<MethodReply>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Sessions {
    /// Calls a method. Returns `None` when neither a link nor a handler takes it.
    pub(crate) fn invoke(&self, key: &str, call: MethodCall) -> Option<Reply> {
        let mut state = lock(&self.state);
        state.requests += 1;
        let request = state.requests.to_string();
        let session = state.sessions.get_mut(key)?;
        let Some(link) = &mut session.link else {
            return session.handler.clone().map(|handler| handler(call));
        };
        let (sender, receiver) = oneshot::channel();
        link.pending.retain(|_, waiting| !waiting.is_closed());
        link.pending.insert(request.clone(), sender);
        let _ = link.sink.send(ToDevice::Method { request, call });
        // A connection that ends without an answer leaves the service waiting until its time-out.
        Some(Box::pin(async { receiver.await.unwrap_or(MethodReply::Silence) }))
    }

    /// A device's answer to a method. Returns whether somebody still waits for this request id.
    pub(crate) fn answer(&self, key: &str, link: u64, request: &str, reply: MethodReply) -> bool {
        let mut state = lock(&self.state);
        let waiting = state.link(key, link).and_then(|link| link.pending.remove(request));
        waiting.is_some_and(|waiting| waiting.send(reply).is_ok())
    }

    /// Whether the device or module receives methods; `None` means that nobody has explicitly connected or
    /// disconnected it.
    pub(crate) fn connected(&self, key: &str) -> Option<bool> {
        let state = lock(&self.state);
        let session = state.sessions.get(key)?;
        session.link.as_ref().map_or(session.connected, |link| Some(link.methods))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Forgets a connection that the service has ended because it disabled or deleted the device.
    pub(crate) fn drop_connection(&self, key: &str) {
        if let Some(session) = lock(&self.state).sessions.get_mut(key)
            && session.connected == Some(true)
        {
            session.connected = None;
        }
    }

    pub(crate) fn change(&self, key: &str, change: impl FnOnce(&mut Session)) {
        change(lock(&self.state).sessions.entry(key.to_owned()).or_default());
        self.wake();
    }

    /// Adds a link and ends an earlier link of the same device or module. Returns the link's id.
    pub(crate) fn link(&self, key: &str, sink: LinkSink) -> u64 {
        let mut state = lock(&self.state);
        state.links += 1;
        let id = state.links;
        let session = state.sessions.entry(key.to_owned()).or_default();
        let link = Link { id, sink, methods: false, pending: HashMap::new() };
        if let Some(earlier) = session.link.replace(link) {
            let _ = earlier.sink.send(ToDevice::Disconnect(Ended::TakenOver));
        }
        drop(state);
        self.wake();
        id
    }

    /// Removes a link. Returns whether it was still the device's link.
    pub(crate) fn unlink(&self, key: &str, link: u64) -> bool {
        let mut state = lock(&self.state);
        let known = state.link(key, link).is_some();
        if known && let Some(session) = state.sessions.get_mut(key) {
            session.link = None;
        }
        drop(state);
        self.wake();
        known
    }

    /// Whether the device or module has a link.
    pub(crate) fn has_link(&self, key: &str) -> bool {
        lock(&self.state).sessions.get(key).is_some_and(|session| session.link.is_some())
    }

    /// States whether the device receives methods over this link.
    pub(crate) fn accept_methods(&self, key: &str, link: u64, accepts: bool) {
        if let Some(link) = lock(&self.state).link(key, link) {
            link.methods = accepts;
        }
        self.wake();
    }

    /// Sends something to the device's link, if it has one.
    pub(crate) fn notify(&self, key: &str, notice: ToDevice) {
        if let Some(link) = lock(&self.state).sessions.get(key).and_then(|session| session.link.as_ref()) {
            let _ = link.sink.send(notice);
        }
    }

    /// Ends the link of a device or module and, with a device's link, those of its modules.
    pub(crate) fn end(&self, key: &str, why: Ended) {
        let mut state = lock(&self.state);
        let of_module = |other: &str| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        for (_, session) in state.sessions.iter_mut().filter(|(other, _)| *other == key || of_module(other)) {
            if let Some(link) = &session.link {
                let _ = link.sink.send(ToDevice::Disconnect(why));
            }
            if why == Ended::Deleted && session.link.take().is_some() {
                // A new device of the same id must not inherit anything.
                session.connected = None;
            }
        }
    }

    /// The filters that a client id is subscribed to, each with its QoS, since an earlier connection.
    pub(crate) fn subscriptions(&self, client: &str) -> BTreeMap<String, u8> {
        lock(&self.state).subscriptions.get(client).cloned().unwrap_or_default()
    }

    /// Keeps the filters that a client id is subscribed to; `None` forgets them.
    pub(crate) fn keep_subscriptions(&self, client: &str, filters: Option<BTreeMap<String, u8>>) {
        let mut state = lock(&self.state);
        match filters {
            Some(filters) => drop(state.subscriptions.insert(client.to_owned(), filters)),
            None => drop(state.subscriptions.remove(client)),
        }
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl State {
    fn link(&mut self, key: &str, id: u64) -> Option<&mut Link> {
        self.sessions.get_mut(key)?.link.as_mut().filter(|link| link.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_takes_methods_before_a_handler_and_its_successor_ends_it() {
        let sessions = Sessions::default();
        sessions.change("d", |session| {
            session.handler = Some(Arc::new(|_| Box::pin(async { MethodReply::answer(1, Value::Null) })));
        });
        let call = || MethodCall::new("m".to_owned(), Value::Null);
        let (sink, mut received) = mpsc::unbounded_channel();
        let link = sessions.link("d", sink);
        assert_eq!(sessions.connected("d"), Some(false));
        sessions.accept_methods("d", link, true);
        assert_eq!(sessions.connected("d"), Some(true));
        let reply = sessions.invoke("d", call()).expect("a link");
        let Some(ToDevice::Method { request, .. }) = received.recv().await else { panic!("no method") };
        assert!(!sessions.answer("d", link, "other", MethodReply::Silence));
        assert!(sessions.answer("d", link, &request, MethodReply::answer(2, Value::Null)));
        assert_eq!(reply.await, MethodReply::answer(2, Value::Null));

        let (sink, _successor) = mpsc::unbounded_channel();
        let second = sessions.link("d", sink);
        assert!(matches!(received.recv().await, Some(ToDevice::Disconnect(Ended::TakenOver))));
        assert!(!sessions.unlink("d", link) && sessions.unlink("d", second));
        assert_eq!(sessions.invoke("d", call()).expect("a handler").await, MethodReply::answer(1, Value::Null));
    }

    #[tokio::test]
    async fn the_end_of_a_device_ends_its_modules() {
        let sessions = Sessions::default();
        let (sink, mut module) = mpsc::unbounded_channel();
        sessions.link("d/m", sink);
        let (sink, mut other) = mpsc::unbounded_channel();
        sessions.link("d2", sink);
        sessions.end("d", Ended::Disabled);
        assert!(matches!(module.try_recv(), Ok(ToDevice::Disconnect(Ended::Disabled))));
        assert!(other.try_recv().is_err());
    }
}
