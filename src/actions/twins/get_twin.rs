//! Reads a device twin.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
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

pub struct GetTwin;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    device_id: String,
}

impl Action for GetTwin {
    fn id(&self) -> &'static str {
        "get-twin"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Get a device twin",
            help: "Reads a device's tags, its desired and its reported properties. Needs a hub of the Standard or Free tier.",
            group: "Twins",
            input: object([("deviceId", fields::device_id())], &["deviceId"]),
            output: fields::twin_output(),
            input_sample: literal!({ "deviceId": "press-17" }),
            output_sample: fields::twin_sample(),
            dynamic_output: true,
            permissions: &[Permission::ServiceConnect],
            limits: &[("Twin reads of an S1 hub", 100, "requests/second")],
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
        Ok(Outcome::Done(session.hub().twin(&id)?.document.to_string()))
    }
}
