//! Applies the modules of a deployment to one IoT Edge device.
//!
//! ```scenario
//! done {"deviceId": "edge-1", "modulesContent": {"filter": {"properties.desired": {"limit": {"high": 80}}}, "$edgeAgent": {"properties.desired.modules.filter": {"type": "docker"}}}}
//! done {"deviceId": "edge-1", "modulesContent": {"filter": {"properties.desired": {"limit": {"high": 80}}}}} under hub:POST /devices/*=drop-afterx1
//! not-found {"deviceId": "missing", "modulesContent": {"filter": {"properties.desired": {}}}}
//! invalid-input {"deviceId": "press-1", "modulesContent": {"filter": {"properties.desired": {}}}}
//! invalid-input {"deviceId": "edge-1", "modulesContent": {"filter": {"tags": {"a": 1}}}}
//! ```

use serde_json::{Value, json};

use super::shared;
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::settle;
use crate::form::fields;
use crate::form::schema::{list, literal, object, string};
use crate::http::{Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "apply-configuration-to-device",
        title: "Apply modules to an IoT Edge device",
        help: "Sets the desired properties of the modules of one IoT Edge device, without a deployment: modules that the device lacks are created, and `properties.desired` replaces all desired properties of a module. \
               A deployment that is for the device replaces them again. Needs a hub of the Standard or Free tier.",
        group: "Configurations",
        input: &[required("deviceId", fields::device_id), required("modulesContent", shared::modules_content)],
        input_sample: r#"{ "deviceId": "gateway-3", "modulesContent": { "filter": { "properties.desired": { "limit": { "high": 80 } } } } }"#,
        output: || {
            object(
                [("deviceId", string("Device id")), ("modules", list("Modules", string("Module id")))],
                &["deviceId", "modules"],
            )
        },
        output_sample: || literal!({ "deviceId": "gateway-3", "modules": ["filter"] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: &[limits::CONFIGURATIONS, ("Modules of a device", 50, "items")],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let content = input.get("modulesContent").cloned().unwrap_or_default();
        settle(shared::check_modules(&content, "/modulesContent"))?;
        let modules: Vec<&String> = content.as_object().map(|modules| modules.keys().collect()).unwrap_or_default();
        let output: Value = json!({ "deviceId": id.as_str(), "modules": modules });
        let segments = ["devices", id.as_str(), "applyConfigurationContent"];
        let request = Request::new(Method::Post, segments, Safety::Repeatable, Permission::RegistryWrite)
            .json(json!({ "modulesContent": content }));
        session.hub().send(&request)?;
        Ok(output)
    },
};
