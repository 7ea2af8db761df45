//! Reads the parents of a device: the IoT Edge devices through which it connects, from the nearest to the farthest.
//!
//! ```scenario
//! done {"deviceId": "leaf-1"}
//! done {"deviceId": "edge-1"}
//! done {"deviceId": "leaf-1"} under hub:GET /devices/*=503x1
//! not-found {"deviceId": "missing"}
//! ```

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::edge::{device_of, parents_of};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::ErrorCode;
use crate::form::fields;
use crate::form::schema::{boolean, list, literal, object, one_of, string, with};
use crate::iothub::DeviceId;

/// The largest number of parents that are followed. Microsoft's documents show hierarchies of up to five layers.
const MOST: usize = 10;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-device-parents",
        title: "Get the parents of a device",
        help: "Reads the IoT Edge devices through which a device connects: its parent, the parent's parent, and so on. \
               `exists` is false for a parent that was deleted, or deleted and created again, since it became the parent.",
        group: "Devices",
        input: &[required("deviceId", fields::device_id)],
        input_sample: r#"{ "deviceId": "press-17" }"#,
        output: || {
            let parent = object(
                [
                    ("deviceId", string("Device id")),
                    ("deviceScope", string("Scope")),
                    ("exists", boolean("Exists")),
                    ("status", one_of("Status", &["enabled", "disabled"])),
                    ("connectionState", one_of("Connection state", &["Connected", "Disconnected"])),
                ],
                &["deviceId", "deviceScope", "exists"],
            );
            let parents = list("Parents, the nearest first", with(parent, literal!({ "title": "Parent" })));
            object([("deviceId", string("Device id")), ("parents", parents)], &["deviceId", "parents"])
        },
        output_sample: || {
            literal!({
                "deviceId": "press-17",
                "parents": [{
                    "deviceId": "gateway-1",
                    "deviceScope": "ms-azure-iot-edge://gateway-1-638675123456789012",
                    "exists": true,
                    "status": "enabled",
                    "connectionState": "Connected"
                }]
            })
        },
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let mut parents: Vec<Value> = Vec::new();
        let mut next = parents_of(&session.hub().device(&id)?.document);
        while let Some(scope) = next.pop().filter(|_| parents.len() < MOST) {
            let name = device_of(&scope);
            let mut parent = json!({ "deviceId": name, "deviceScope": scope, "exists": false });
            let known = parents.iter().any(|earlier| earlier.get("deviceScope") == parent.get("deviceScope"));
            if let Ok(name) = DeviceId::parse(name, "")
                && !known
            {
                match session.hub().device(&name) {
                    Ok(found) if found.document.get("deviceScope") == parent.get("deviceScope") => {
                        parent["exists"] = true.into();
                        for member in ["status", "connectionState"] {
                            if let Some(value) = found.document.get(member) {
                                parent[member] = value.clone();
                            }
                        }
                        next = parents_of(&found.document);
                    }
                    Ok(_) => {}
                    Err(error) if error.code() == ErrorCode::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            parents.push(parent);
        }
        Ok(json!({ "deviceId": id.as_str(), "parents": parents }))
    },
};
