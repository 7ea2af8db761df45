//! Reads a device identity.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "press-1"} under hub:GET /devices/*=503x1
//! done {"deviceId": "$odd"}
//! not-found {"deviceId": "missing"}
//! ```

use serde::Deserialize;
use serde_json::Value;

use crate::actions::shared::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::Result;
use crate::form::schema::literal;
use crate::form::{Spec, fields, schema::object, typed};
use crate::iothub::DeviceId;
use crate::session::Session;

pub struct GetDevice;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
}

impl Action for GetDevice {
    fn id(&self) -> &'static str {
        "get-device"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Get a device",
            help: "Reads a device identity from the hub's registry, its keys included. For tags and properties use **Get a device twin**.",
            group: "Devices",
            input: object([("deviceId", fields::device_id())], &["deviceId"]),
            output: fields::device_output(),
            input_sample: literal!({ "deviceId": "press-17" }),
            output_sample: fields::device_sample(),
            dynamic_output: false,
            permissions: &[Permission::RegistryRead],
            limits: &[("Identity operations of an S1 unit", 100, "requests/minute")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Read,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let input: Input = typed(input)?;
        let id = DeviceId::parse(&input.device_id, "/deviceId")?;
        Ok(Outcome::Done(session.hub().device(&id)?.document.to_string()))
    }
}
