//! Counts the devices that are connected to the hub.
//!
//! ```scenario
//! done {}
//! done {} under hub:GET /statistics/service=503x1
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
        id: "get-service-statistics",
        title: "Get service statistics",
        help: "Counts the devices that are connected to the hub.",
        group: "Statistics",
        input: &[],
        input_sample: "{}",
        output: || {
            open_object(
                [("connectedDeviceCount", integer("Connected devices", 0, i64::MAX))],
                &["connectedDeviceCount"],
            )
        },
        output_sample: || literal!({ "connectedDeviceCount": 98 }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::IDENTITIES],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, _, _| {
        let request = Request::new(Method::Get, ["statistics", "service"], Safety::Read, Permission::ServiceConnect);
        Ok(session.hub().document(&request)?.document)
    },
};
