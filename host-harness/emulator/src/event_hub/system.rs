//! System events, which the hub itself makes for each source that a route sends to the built-in endpoint.
//!
//! Source: the page on the schemas of non-telemetry events, and the device twins page for twin changes. Without a route
//! no such event is made, as at the service. Microsoft publishes no samples of `deviceJobLifecycleEvents` and
//! `digitalTwinChangeEvents`: here their payloads are a job's outcome on the device and a JSON Patch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::endpoint::EventHub;
use super::event::{EventSource, TelemetryEvent};
use crate::clock::{now, rfc3339};
use crate::journal::TwinPart;

/// Makes system events for the sources that have a route.
#[derive(Clone)]
pub(crate) struct SystemEvents {
    hub: Arc<EventHub>,
    hub_name: String,
    routes: Arc<BTreeSet<EventSource>>,
    connection_sequence: Arc<AtomicU64>,
}

/// A twin after a change, and the change.
pub(crate) struct TwinNotification<'a> {
    pub(crate) device: &'a str,
    pub(crate) module: Option<&'a str>,
    /// The twin's version.
    pub(crate) version: u64,
    /// Whether the change replaced the sections, as PUT does.
    pub(crate) replaced: bool,
    /// The sections that changed, each with the patch that was written.
    pub(crate) changes: &'a [(TwinPart, Value)],
    /// `$version` of a section, by part.
    pub(crate) section_version: &'a dyn Fn(TwinPart) -> Option<u64>,
}

impl SystemEvents {
    pub(crate) fn new(hub: Arc<EventHub>, hub_name: &str, routes: BTreeSet<EventSource>) -> Self {
        let hub_name = hub_name.to_owned();
        Self { hub, hub_name, routes: Arc::new(routes), connection_sequence: Arc::default() }
    }

    fn routed(&self, source: EventSource) -> bool {
        self.routes.contains(&source)
    }

    /// A device or module was created or deleted; `twin` returns its current or last twin.
    pub(crate) fn lifecycle(&self, device: &str, module: Option<&str>, created: bool, twin: impl FnOnce() -> Value) {
        let operation = match (module, created) {
            (None, true) => "createDeviceIdentity",
            (None, false) => "deleteDeviceIdentity",
            (Some(_), true) => "createModuleIdentity",
            (Some(_), false) => "deleteModuleIdentity",
        };
        if self.routed(EventSource::DeviceLifecycle) {
            let schema = Some("deviceLifecycleNotification");
            self.emit(EventSource::DeviceLifecycle, device, module, Some(operation), schema, &twin());
        }
    }

    /// A device or module connected or disconnected.
    pub(crate) fn connection(&self, device: &str, module: Option<&str>, connected: bool) {
        if self.routed(EventSource::DeviceConnectionState) {
            let number = self.connection_sequence.fetch_add(1, Ordering::Relaxed) + 1;
            // The sequence number has 64 hexadecimal digits and only grows.
            let body = json!({ "sequenceNumber": format!("{number:064X}") });
            let operation = if connected { "deviceConnected" } else { "deviceDisconnected" };
            let schema = Some("deviceConnectionStateNotification");
            self.emit(EventSource::DeviceConnectionState, device, module, Some(operation), schema, &body);
        }
    }

    /// A twin changed.
    pub(crate) fn twin(&self, notification: &TwinNotification<'_>) {
        let TwinNotification { device, module, version, replaced, changes, section_version } = notification;
        if self.routed(EventSource::TwinChange) {
            let mut body = json!({ "version": version });
            for (part, patch) in *changes {
                let mut patch = patch.clone();
                if let (Value::Object(patch), Some(version)) = (&mut patch, section_version(*part)) {
                    patch.insert("$metadata".to_owned(), json!({ "$lastUpdated": rfc3339(now()) }));
                    patch.insert("$version".to_owned(), json!(version));
                }
                match part {
                    TwinPart::Tags => body["tags"] = patch,
                    TwinPart::Desired => body["properties"]["desired"] = patch,
                    TwinPart::Reported => body["properties"]["reported"] = patch,
                }
            }
            let operation = if *replaced { "replaceTwin" } else { "updateTwin" };
            let schema = Some("twinChangeNotification");
            self.emit(EventSource::TwinChange, device, *module, Some(operation), schema, &body);
        }
        if self.routed(EventSource::DigitalTwinChange) {
            let properties = changes.iter().filter(|(part, _)| *part != TwinPart::Tags);
            let members = properties.filter_map(|(_, patch)| patch.as_object()).flatten();
            let patch: Vec<Value> = members
                .map(|(name, value)| match value {
                    Value::Null => json!({ "op": "remove", "path": format!("/{name}") }),
                    value => json!({ "op": "replace", "path": format!("/{name}"), "value": value }),
                })
                .collect();
            if !patch.is_empty() {
                self.emit(EventSource::DigitalTwinChange, device, *module, None, None, &Value::Array(patch));
            }
        }
    }

    /// A job finished or failed on a device.
    pub(crate) fn job(&self, device: &str, job: impl FnOnce() -> Value) {
        if self.routed(EventSource::DeviceJobLifecycle) {
            self.emit(EventSource::DeviceJobLifecycle, device, None, None, None, &job());
        }
    }

    fn emit(
        &self,
        source: EventSource,
        device: &str,
        module: Option<&str>,
        operation: Option<&str>,
        schema: Option<&str>,
        body: &Value,
    ) {
        let mut event = TelemetryEvent::new(device, body.to_string()).json();
        event.source = source;
        event.module_id = module.map(str::to_owned);
        let time = rfc3339(now());
        let properties = [
            ("hubName", Some(self.hub_name.as_str())),
            ("deviceId", Some(device)),
            ("moduleId", module),
            ("opType", operation),
            ("iothub-message-schema", schema),
            ("operationTimestamp", Some(time.as_str())),
        ];
        event.properties =
            properties.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        self.hub.append_all([event]);
    }
}
