//! The workflow: what a person would draw in an engine's editor.
//!
//! | event | what is done |
//! |---|---|
//! | registration assigned | `update-twin`: the device is tagged as commissioned; the first time also `invoke-direct-method`: a self-test |
//! | registration failed or disabled | an alarm |
//! | registration of a group's device deleted | `get-registration-state`, then `update-device`: the device is disabled |
//! | enrollment changed its `line` tag | `update-twin`: the device's tag follows |
//! | enrollment deleted | `get-individual-enrollment`, then `update-device`: the device is disabled |
//!
//! An event states a change of the past: before the workflow disables a device, it makes sure that the deleted record
//! does not exist again. Events of one record are handled in order, events of different records at the same time.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::super::actions::{Actions, Caller, Request};
use super::collection::Collection;
use super::engine::Fired;
use super::plant::SELF_TEST;
use connector_host::CallError;
use connector_host::interface::types::ErrorCode;

/// The number of records that are worked on at the same time.
const WORKERS: usize = 6;

/// The actions that the workflow calls.
pub(super) const ACTIONS: [&str; 6] = [
    "query-individual-enrollments",
    "get-individual-enrollment",
    "get-registration-state",
    "update-twin",
    "update-device",
    "invoke-direct-method",
];

/// A device that could not register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// Its registration id.
    pub registration_id: String,
    /// `failed` or `disabled`.
    pub status: String,
    /// The message of the provisioning service about the device.
    pub message: String,
}

/// What the workflow has done.
#[derive(Debug, Default)]
pub(super) struct WorkflowLog {
    entries: Mutex<Entries>,
    /// The number of events that the workflow has handled.
    pub(super) handled: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    pub(super) alarms: Vec<Alarm>,
    /// Successful updates of twins: the device, and the event that was answered.
    pub(super) updates: Vec<(String, String)>,
    /// Successful changes of a status: the device, and the status.
    pub(super) statuses: Vec<(String, String)>,
    pub(super) methods: u64,
    pub(super) mishaps: Vec<String>,
}

impl WorkflowLog {
    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the workflow keeps about a registration, as an engine keeps variables.
#[derive(Clone, Debug, Default)]
struct Known {
    device_id: Option<String>,
    line: Option<Value>,
    in_group: bool,
    commissioned: bool,
    shut_out: bool,
}

/// The running workflow.
pub(super) struct Workflow {
    workers: JoinSet<()>,
    senders: Vec<UnboundedSender<Fired>>,
    log: Arc<WorkflowLog>,
}

impl Workflow {
    /// Starts the workflow, which first reads the enrollments that exist already.
    pub(super) async fn start(actions: &Arc<Actions>) -> Result<Self, CallError> {
        let mut memories = vec![BTreeMap::new(); WORKERS];
        for enrollment in actions.items(ACTIONS[0], &json!({ "pageSize": 50 })).await? {
            let id = enrollment.get("registrationId").and_then(Value::as_str).unwrap_or_default().to_lowercase();
            let mut known = Known::default();
            known.read_enrollment(&enrollment);
            known.commissioned = enrollment.pointer("/registrationState/status") == Some(&json!("assigned"));
            if let Some(memory) = memories.get_mut(worker_of(&id)) {
                memory.insert(id, known);
            }
        }
        let log: Arc<WorkflowLog> = Arc::default();
        let mut workers = JoinSet::new();
        let mut senders = Vec::new();
        for memory in memories {
            let (sender, receiver) = unbounded_channel();
            senders.push(sender);
            workers.spawn(Worker { actions: actions.clone(), log: log.clone(), memory }.run(receiver));
        }
        Ok(Self { workers, senders, log })
    }

    pub(super) fn log(&self) -> &Arc<WorkflowLog> {
        &self.log
    }

    /// Returns the inbox: a function that hands an event to the worker of its record.
    pub(super) fn inbox(&self) -> impl Fn(Fired) + Send + Sync + 'static {
        let senders = self.senders.clone();
        move |event| {
            if let Some(sender) = senders.get(worker_of(&event.key.to_lowercase())) {
                // Sending fails only if the worker is gone, and then everything else was stopped with it.
                let _ = sender.send(event);
            }
        }
    }

    /// Waits until the last inbox is gone and all events are handled.
    pub(super) async fn finish(mut self) {
        self.senders.clear();
        while self.workers.join_next().await.is_some() {}
    }
}

fn worker_of(key: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    usize::try_from(hasher.finish() % WORKERS as u64).unwrap_or_default()
}

struct Worker {
    actions: Arc<Actions>,
    log: Arc<WorkflowLog>,
    memory: BTreeMap<String, Known>,
}

impl Worker {
    async fn run(mut self, mut inbox: UnboundedReceiver<Fired>) {
        while let Some(event) = inbox.recv().await {
            let key = event.key.to_lowercase();
            let mut known = self.memory.remove(&key).unwrap_or_default();
            self.handle(&event, &mut known).await;
            self.memory.insert(key, known);
            self.log.handled.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn handle(&self, event: &Fired, known: &mut Known) {
        let text = |name: &str| event.data.get(name).and_then(Value::as_str);
        match (event.collection, text("change").unwrap_or_default()) {
            (Collection::Enrollments, "deleted") => {
                if self.is_gone("get-individual-enrollment", event).await {
                    self.shut_out(event, known, "Its enrollment was deleted").await;
                }
            }
            (Collection::Enrollments, _) => {
                let before = known.line.clone();
                known.read_enrollment(event.data.get("enrollment").unwrap_or(&Value::Null));
                if known.commissioned && known.line != before {
                    self.tag(event, known, json!({})).await;
                }
            }
            (Collection::Registrations, "deleted") => {
                if known.in_group && self.is_gone("get-registration-state", event).await {
                    self.shut_out(event, known, "Its registration was deleted").await;
                }
            }
            (Collection::Registrations, _) => match text("status") {
                Some("assigned") => {
                    known.device_id = text("deviceId").map(str::to_owned);
                    known.in_group = text("enrollmentGroupId").is_some();
                    self.commission(event, known).await;
                }
                Some(status @ ("failed" | "disabled")) => {
                    let message = event.data.pointer("/registration/errorMessage").and_then(Value::as_str);
                    self.log.entries().alarms.push(Alarm {
                        registration_id: event.key.clone(),
                        status: status.to_owned(),
                        message: message.unwrap_or_default().to_owned(),
                    });
                }
                // The registration is under way; its next event states the result.
                _ => {}
            },
        }
    }

    async fn commission(&self, event: &Fired, known: &mut Known) {
        if known.shut_out {
            self.set_status(event, known, "enabled", "").await;
        }
        let registered = event.data.pointer("/registration/lastUpdatedDateTimeUtc").cloned().unwrap_or_default();
        self.tag(event, known, json!({ "state": "commissioned", "registeredAt": registered })).await;
        if !std::mem::replace(&mut known.commissioned, true) {
            self.self_test(event, known).await;
        }
    }

    /// Writes the workflow's tag `lifecycle`, which names the event that it answers.
    async fn tag(&self, event: &Fired, known: &Known, mut lifecycle: Value) {
        let Some(device_id) = &known.device_id else { return };
        lifecycle["event"] = event.id.as_str().into();
        if let Some(line) = &known.line {
            lifecycle["line"] = line.clone();
        }
        let input = json!({ "deviceId": device_id, "tags": { "lifecycle": lifecycle } });
        match self.call("update-twin", &input, event).await {
            Ok(_) => self.log.entries().updates.push((device_id.clone(), event.id.clone())),
            Err(error) => self.mishap("update-twin", event, &error),
        }
    }

    async fn self_test(&self, event: &Fired, known: &Known) {
        let Some(device_id) = &known.device_id else { return };
        let input = json!({ "deviceId": device_id, "methodName": SELF_TEST, "payload": { "full": false } });
        match self.call("invoke-direct-method", &input, event).await {
            Ok(_) => self.log.entries().methods += 1,
            // The device has left or was disabled in the meantime.
            Err(error) if has_code(&error, &[ErrorCode::DeviceOffline, ErrorCode::NotFound]) => {}
            Err(error) => self.mishap("invoke-direct-method", event, &error),
        }
    }

    async fn shut_out(&self, event: &Fired, known: &mut Known, reason: &str) {
        known.shut_out = self.set_status(event, known, "disabled", reason).await;
    }

    /// Returns whether the device now has this status.
    async fn set_status(&self, event: &Fired, known: &Known, status: &str, reason: &str) -> bool {
        let device_id = known.device_id.as_deref().unwrap_or(&event.key);
        let input = json!({ "deviceId": device_id, "status": status, "statusReason": reason });
        match self.call("update-device", &input, event).await {
            Ok(_) => {
                self.log.entries().statuses.push((device_id.to_owned(), status.to_owned()));
                true
            }
            // The device never registered, so there is no device to disable.
            Err(error) if has_code(&error, &[ErrorCode::NotFound]) => false,
            Err(error) => {
                self.mishap("update-device", event, &error);
                false
            }
        }
    }

    async fn is_gone(&self, action: &'static str, event: &Fired) -> bool {
        match self.call(action, &json!({ "registrationId": event.key }), event).await {
            Ok(_) => false,
            Err(error) if has_code(&error, &[ErrorCode::NotFound]) => true,
            Err(error) => {
                self.mishap(action, event, &error);
                false
            }
        }
    }

    async fn call(&self, action: &'static str, input: &Value, event: &Fired) -> Result<Value, CallError> {
        let key = format!("{} {action}", event.id);
        let request = Request::new(Caller::Commissioning, action, input, &key);
        self.actions.invoke(&request).await.map_err(|failed| failed.error)
    }

    fn mishap(&self, action: &str, event: &Fired, error: &CallError) {
        self.log.entries().mishaps.push(format!("{action} for {}: {error}", event.key));
    }
}

impl Known {
    fn read_enrollment(&mut self, enrollment: &Value) {
        let text = |name: &str| enrollment.get(name).and_then(Value::as_str).map(str::to_owned);
        self.device_id = text("deviceId").or_else(|| text("registrationId"));
        self.line = enrollment.pointer("/initialTwin/tags/line").cloned();
    }
}

fn has_code(error: &CallError, codes: &[ErrorCode]) -> bool {
    error.connector().is_some_and(|error| codes.contains(&error.code))
}
