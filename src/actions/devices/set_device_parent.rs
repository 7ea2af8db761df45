//! Makes a device the child of an IoT Edge device, or takes its parent away.
//!
//! ```scenario
//! done {"deviceId": "leaf-1", "parentDeviceId": "edge-1"}
//! done {"deviceId": "leaf-1", "parentDeviceId": "edge-1"} tagged get-device {"deviceId": "leaf-1"}
//! done {"deviceId": "edge-2", "parentDeviceId": "edge-1"}
//! done {"deviceId": "leaf-1", "parentDeviceId": "edge-2", "ifOtherParent": "replace"}
//! conflict {"deviceId": "leaf-1", "parentDeviceId": "edge-1"}
//! done {"deviceId": "leaf-2", "remove": true}
//! done {"deviceId": "leaf-2", "parentDeviceId": "edge-2"}
//! done {"deviceId": "leaf-2", "remove": true}
//! done {"deviceId": "leaf-1", "parentDeviceId": "edge-1", "ifOtherParent": "replace"} under hub:PUT /devices/*=drop-afterx1
//! precondition-failed {"deviceId": "leaf-1", "parentDeviceId": "edge-1", "etag": "$stale"}
//! not-found {"deviceId": "missing", "parentDeviceId": "edge-1"}
//! not-found {"deviceId": "leaf-1", "parentDeviceId": "missing"}
//! invalid-input {"deviceId": "leaf-1", "parentDeviceId": "press-1"}
//! invalid-input {"deviceId": "edge-1", "parentDeviceId": "edge-1"}
//! invalid-input {"deviceId": "leaf-1"}
//! ```

use serde_json::{Value, json};

use crate::actions::shared::change::set;
use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::edge::{device_of, is_edge, parents_of, scope_of};
use crate::actions::shared::identity;
use crate::actions::shared::limits;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{Error, ErrorCode};
use crate::form::fields;
use crate::form::schema::{boolean, help, literal, one_of, with};
use crate::iothub::{DeviceId, Identity};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "set-device-parent",
        title: "Set the parent of a device",
        help: "Makes a device the child of an IoT Edge device, through which it can then connect, or takes its parent away. \
               The child may be an IoT Edge device itself. A device has one parent at most.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            optional("parentDeviceId", || {
                with(
                    fields::device_id(),
                    literal!({ "title": "Parent's device id", "description": "An IoT Edge device." }),
                )
            }),
            optional("remove", || {
                with(
                    help(boolean("Remove the parent"), "Take the parent away instead of setting one."),
                    literal!({ "default": false }),
                )
            }),
            optional("ifOtherParent", || {
                with(
                    help(
                        one_of("If it has another parent", &["fail", "replace"]),
                        "`replace`: the device changes to the new parent.",
                    ),
                    literal!({ "default": "fail", "x-visibility": "advanced" }),
                )
            }),
            ETAG,
        ],
        input_sample: r#"{ "deviceId": "press-17", "parentDeviceId": "gateway-1" }"#,
        output: fields::device_output,
        output_sample: || {
            let scope = "ms-azure-iot-edge://gateway-1-638675123456789012";
            with(fields::device_sample(), json!({ "deviceScope": scope, "parentScopes": [scope] }))
        },
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::IDENTITIES],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let stated = input.stated_if_match()?;
        let parent = input.text("parentDeviceId").map(|text| DeviceId::parse(text, "/parentDeviceId")).transpose()?;
        let scope = match (&parent, input.flag("remove")) {
            (Some(_), true) => {
                return Err(Error::field("/remove", "not-allowed", "cannot be true where a parent is given"));
            }
            (None, false) => {
                let message = "is missing: state a parent, or set `remove` to take the parent away";
                return Err(Error::field("/parentDeviceId", "missing", message));
            }
            (Some(parent), _) if *parent == id => {
                return Err(Error::field("/parentDeviceId", "not-allowed", "must be another device than the child"));
            }
            (None, true) => None,
            (Some(parent), false) => Some(scope_of(&session.hub().device(parent)?.document, "/parentDeviceId")?),
        };
        let replaces = input.text("ifOtherParent") == Some("replace");
        let changed = identity::change(session, &Identity::of_device(&id), stated.as_ref(), &|mut device| {
            let others = parents_of(&device);
            if let (Some(wanted), false) = (&scope, replaces)
                && let Some(other) = others.iter().find(|other| *other != wanted)
            {
                let message = format!(
                    "The device has the parent \"{}\" already: set `ifOtherParent` to `replace` to change it, or remove the parent first.",
                    device_of(other)
                );
                return Err(Error::new(ErrorCode::Conflict, message));
            }
            // The scope of an IoT Edge device is its own and never changes; a child of another kind shares its parent's
            // scope.
            if !is_edge(&device) {
                set(&mut device, &["deviceScope"], scope.as_deref().unwrap_or_default().into());
            }
            set(&mut device, &["parentScopes"], scope.iter().cloned().collect::<Vec<String>>().into());
            Ok(device)
        })?;
        Ok::<Value, Error>(changed.document)
    },
};
