//! Lists the module identities of a device. The API has no pages for this list.
//!
//! ```scenario
//! done {"deviceId": "press-1"}
//! done {"deviceId": "press-2"}
//! done {"deviceId": "press-1"} under hub:GET /devices/*=503x1
//! not-found {"deviceId": "missing"}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::http::{Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "list-modules",
        title: "List the modules of a device",
        help: "Lists the module identities of a device, their keys included. On an IoT Edge device, `$edgeAgent` and `$edgeHub` are among them.",
        group: "Modules",
        input: &[required("deviceId", fields::device_id)],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: || fields::page_output("Modules", fields::module_output()),
        output_sample: || json!({ "items": [fields::module_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES, limits::MODULES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let device = input.device()?;
        let path = ["devices", device.as_str(), "modules"];
        let request = Request::new(Method::Get, path, Safety::Read, Permission::RegistryRead);
        Ok(json!({ "items": session.hub().page(&request)?.items }))
    },
};
