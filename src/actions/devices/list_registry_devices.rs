//! Lists the identities of the hub's registry itself. The API has no pages for this list.
//!
//! ```scenario
//! done {}
//! done {"top": 2}
//! done {"top": 2} under hub:GET /devices=503x1
//! invalid-input {"top": 1001}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::{integer, literal, with};
use crate::http::{Request, Safety};
use crate::platform::Method;

/// The largest list that the service returns.
const MOST: u64 = 1000;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "list-registry-devices",
        title: "List devices of the registry",
        help: "Lists device identities from the registry itself, keys included, without the delay of a query. \
               At most 1,000 devices: the list has no further pages and cannot be filtered. For all devices of a larger hub use **List devices**.",
        group: "Devices",
        input: &[optional("top", || with(integer("Most devices", 1, 1000), literal!({ "default": 1000 })))],
        input_sample: r#"{ "top": 100 }"#,
        output: || fields::page_output("Devices", fields::device_output()),
        output_sample: || json!({ "items": [fields::device_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::IDENTITIES, ("Devices of the list", MOST, "items")],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let request = Request::new(Method::Get, ["devices"], Safety::Read, Permission::RegistryRead)
            .query("top", input.number("top").unwrap_or(MOST));
        Ok(json!({ "items": session.hub().page(&request)?.items }))
    },
};
