//! Which devices are connected, and how they answer direct methods.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

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

pub(crate) type Handler = Arc<dyn Fn(MethodCall) -> Pin<Box<dyn Future<Output = MethodReply> + Send>> + Send + Sync>;

/// Which devices are connected and how they answer methods.
pub(crate) struct Sessions {
    sessions: Mutex<HashMap<String, Session>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct Session {
    /// `None` means that nobody has explicitly connected or disconnected the device.
    pub(crate) connected: Option<bool>,
    pub(crate) handler: Option<Handler>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { sessions: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Sessions {
    pub(crate) fn handler(&self, key: &str) -> Option<Handler> {
        lock(&self.sessions).get(key)?.handler.clone()
    }

    pub(crate) fn connected(&self, key: &str) -> Option<bool> {
        lock(&self.sessions).get(key)?.connected
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Forgets a connection that the service has ended because it disabled or deleted the device.
    pub(crate) fn drop_connection(&self, key: &str) {
        if let Some(session) = lock(&self.sessions).get_mut(key)
            && session.connected == Some(true)
        {
            session.connected = None;
        }
    }

    pub(crate) fn change(&self, key: &str, change: impl FnOnce(&mut Session)) {
        change(lock(&self.sessions).entry(key.to_owned()).or_default());
        self.changed.send_modify(|count| *count += 1);
    }
}
