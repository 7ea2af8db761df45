//! Creates an automatic configuration or an IoT Edge deployment.
//!
//! ```scenario
//! done {"configurationId": "made-1", "content": {"deviceContent": {"properties.desired.interval": {"seconds": 30}}}, "targetCondition": "tags.site='nowhere'", "priority": 10, "labels": {"team": "operations"}, "metrics": {"all": "SELECT deviceId FROM devices"}, "ifExists": "keep"}
//! done {"configurationId": "made-1", "content": {"deviceContent": {"properties.desired.interval": {"seconds": 31}}}, "ifExists": "keep"}
//! done {"configurationId": "made-%2+_*!'", "content": {"modulesContent": {"filter": {"properties.desired.modules.x": {"type": "docker"}}}}}
//! done {"configurationId": "made-3", "content": {"moduleContent": {"properties.desired": {"on": true}}}, "targetCondition": "from devices.modules where moduleId='filter'"}
//! conflict {"configurationId": "made-1", "content": {"deviceContent": {"properties.desired.a": {"b": 1}}}}
//! done {"configurationId": "made-4", "content": {"deviceContent": {"properties.desired.a": {"b": 1}}}} under hub:PUT /configurations/*=drop-afterx1
//! invalid-input {"configurationId": "Made", "content": {"deviceContent": {"properties.desired.a": {"b": 1}}}}
//! invalid-input {"configurationId": "made-5", "content": {"deviceContent": {"tags.a": {"b": 1}}}}
//! invalid-input {"configurationId": "made-5", "content": {"deviceContent": {"properties.desired.a": {"b": 1}}}, "targetCondition": "tags.site = = 'north'"}
//! ```

use serde_json::json;

use super::shared;
use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::ErrorCode;
use crate::form::schema::{help, literal, one_of, with};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-configuration",
        title: "Create a configuration",
        help: "Creates an automatic configuration of devices or modules, or an IoT Edge deployment: the hub sets the desired properties of all devices that meet the target condition, and of those that come to meet it later. \
               The content cannot be changed afterwards: a new configuration with a higher priority replaces it. Needs a hub of the Standard or Free tier.",
        group: "Configurations",
        input: &[
            required("configurationId", shared::configuration_id),
            required("content", || {
                help(
                    shared::content(),
                    "One of the three. A deployment for IoT Edge devices has modules content; for its first one, `$edgeAgent` and `$edgeHub` are needed.",
                )
            }),
            optional("targetCondition", shared::target_condition),
            optional("priority", || with(shared::priority(), literal!({ "default": 0 }))),
            optional("labels", shared::labels),
            optional("metrics", shared::metrics),
            optional("ifExists", || {
                with(
                    help(
                        one_of("If it exists", &["fail", "keep"]),
                        "`keep`: leave the configuration as it is and answer with it. Makes repeating the action harmless.",
                    ),
                    literal!({ "default": "fail", "x-visibility": "advanced" }),
                )
            }),
        ],
        input_sample: r#"{
            "configurationId": "interval-north",
            "content": { "deviceContent": { "properties.desired.interval": { "seconds": 30 } } },
            "targetCondition": "tags.site='north'",
            "priority": 10
        }"#,
        output: shared::output,
        output_sample: shared::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::CONFIGURATIONS, shared::MOST],
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| {
        let id = input.configuration()?;
        let content = input.get("content").cloned().unwrap_or_default();
        shared::refuse(shared::check_content(&content, input.text("targetCondition")))?;
        let mut body =
            json!({ "id": input.required_text("configurationId"), "schemaVersion": "1.0", "content": content });
        for name in ["targetCondition", "priority", "labels"] {
            if let Some(value) = input.get(name) {
                body[name] = value.clone();
            }
        }
        if let Some(queries) = input.get("metrics") {
            body["metrics"] = json!({ "queries": queries });
        }
        let hub = session.hub();
        let read = || hub.configuration(&id);
        let created = hub.put_configuration(&id, body.clone(), None);
        match shared::confirmed(created, &body, read) {
            Err(error) if error.code() == ErrorCode::Conflict && input.text("ifExists") == Some("keep") => {
                Ok(hub.configuration(&id)?.document)
            }
            created => Ok(created?.document),
        }
    },
};
