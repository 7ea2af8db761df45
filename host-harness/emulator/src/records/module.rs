//! Module identities.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::identity::{
    Authentication, AuthenticationBody, AuthenticationType, Issued, ThumbprintBody, connection_state, generation,
};
use super::twin::Twin;
use crate::clock::time_or_never;
use crate::etag;
use crate::versions::At;

/// A module identity with its twin.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) device: String,
    pub(crate) id: String,
    pub(crate) managed_by: Option<String>,
    pub(crate) generation: String,
    pub(crate) etag: String,
    pub(crate) attributes: Option<Map<String, Value>>,
    pub(crate) connected: bool,
    pub(crate) connection_updated: Option<OffsetDateTime>,
    pub(crate) last_activity: Option<OffsetDateTime>,
    pub(crate) authentication: Authentication,
    pub(crate) twin: Twin,
}

/// A module as clients send it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ModuleBody {
    pub(crate) device_id: Option<String>,
    pub(crate) module_id: Option<String>,
    pub(crate) managed_by: Option<String>,
    pub(crate) authentication: Option<AuthenticationBody>,
    pub(crate) attributes: Option<Map<String, Value>>,
}

impl Module {
    /// One of the two modules that every edge device has from the start.
    pub(crate) fn system(device: &str, id: &str, now: OffsetDateTime) -> Self {
        let authentication = Authentication {
            kind: AuthenticationType::None,
            symmetric_key: None,
            thumbprints: ThumbprintBody::default(),
            issued: Issued::default(),
        };
        Self::new(device, id, Some("iotEdge".to_owned()), authentication, now)
    }

    pub(crate) fn new(
        device: &str,
        id: &str,
        managed_by: Option<String>,
        authentication: Authentication,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            device: device.to_owned(),
            id: id.to_owned(),
            managed_by,
            generation: generation(now),
            etag: etag::fresh(),
            attributes: None,
            connected: false,
            connection_updated: None,
            last_activity: None,
            authentication,
            twin: Twin::new(now),
        }
    }

    pub(crate) fn to_json(&self, at: At) -> Value {
        let mut object = json!({
            "moduleId": self.id,
            "deviceId": self.device,
            "generationId": self.generation,
            "etag": self.etag,
            "connectionState": connection_state(self.connected),
            "connectionStateUpdatedTime": time_or_never(self.connection_updated),
            "lastActivityTime": time_or_never(self.last_activity),
            "cloudToDeviceMessageCount": 0,
            "authentication": self.authentication.to_json(at),
        });
        if let Some(managed_by) = &self.managed_by {
            object["managedBy"] = json!(managed_by);
        }
        if let Some(attributes) = self.attributes.as_ref().filter(|_| at.has_attributes()) {
            object["attributes"] = json!(attributes);
        }
        object
    }
}
