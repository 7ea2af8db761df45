//! Counts the devices of the hub's registry.
//!
//! ```scenario
//! done {}
//! done {} under hub:GET /statistics/devices=503x1
//! ```

use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::schema::{integer, literal, open_object};
use crate::http::{Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-registry-statistics",
        title: "Get registry statistics",
        help: "Counts the devices of the hub's registry: all, the enabled and the disabled ones.",
        group: "Statistics",
        input: &[],
        input_sample: "{}",
        output: || {
            let count = |title| integer(title, 0, i64::MAX);
            open_object(
                [
                    ("totalDeviceCount", count("Devices")),
                    ("enabledDeviceCount", count("Enabled devices")),
                    ("disabledDeviceCount", count("Disabled devices")),
                ],
                &["totalDeviceCount"],
            )
        },
        output_sample: || literal!({ "totalDeviceCount": 120, "enabledDeviceCount": 117, "disabledDeviceCount": 3 }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, _, _| {
        let request = Request::new(Method::Get, ["statistics", "devices"], Safety::Read, Permission::RegistryRead);
        Ok(session.hub().document(&request)?.document)
    },
};
