//! Reads a digital twin.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "press-1"} under hub:GET /digitaltwins/*=503x1
//! done {"deviceId": "$odd"}
//! not-found {"deviceId": "missing"}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::{any_object, literal, object, open_object, string, with};
use crate::http::{Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-digital-twin",
        title: "Get a digital twin",
        help: "Reads a device as its IoT Plug and Play model describes it: its properties and components, with desired values in `$metadata`. Needs a hub of the Standard or Free tier.",
        group: "Digital twins",
        input: &[required("deviceId", fields::device_id)],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: || {
            let twin = open_object([("$dtId", string("Device id")), ("$metadata", any_object("Metadata"))], &[]);
            object(
                [("etag", string("ETag")), ("digitalTwin", with(twin, literal!({ "title": "Digital twin" })))],
                &["digitalTwin"],
            )
        },
        output_sample: || {
            literal!({
                "etag": "AAAAAAAAAAI=",
                "digitalTwin": {
                    "$dtId": "press-17",
                    "targetTemperature": 21.5,
                    "thermostat1": { "maxTempSinceLastReboot": 25.3, "$metadata": {} },
                    "$metadata": {
                        "$model": "dtmi:com:example:Press;1",
                        "targetTemperature": { "desiredValue": 22, "desiredVersion": 3, "lastUpdateTime": "2026-05-04T07:30:00Z" }
                    }
                }
            })
        },
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::TWIN_READS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let segments = ["digitaltwins", id.as_str()];
        let request = Request::new(Method::Get, segments, Safety::Read, Permission::ServiceConnect);
        let found = session.hub().document(&request)?;
        let mut output = json!({ "digitalTwin": found.document });
        if let Some(etag) = found.etag {
            output["etag"] = etag.as_str().into();
        }
        Ok(output)
    },
};
