//! Lists devices with the hub's query language, because a list of the registry itself ends after 1,000 devices.
//!
//! ```scenario
//! pages {"pageSize": 2}
//! pages {"pageSize": 1, "select": "summary", "condition": "tags.site = 'north'"}
//! done {"condition": "tags.site = 'nowhere'"}
//! invalid-input {"condition": "tags.site = = 'north'"}
//! ```

use serde_json::json;

use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::{help, literal, one_of, string, with};

/// The columns of a device's summary.
const COLUMNS: &str =
    "deviceId, etag, status, statusReason, connectionState, lastActivityTime, authenticationType, capabilities";

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "list-devices",
        title: "List devices",
        help: "Lists the devices of the hub, or those that meet a condition of the hub's query language, page by page. \
               A query may lag behind by seconds. Needs a hub of the Standard or Free tier.",
        group: "Devices",
        input: &[
            optional("condition", || {
                with(
                    help(
                        string("Condition"),
                        "What stands after WHERE in the hub's query language. Empty: all devices. \
                         A name that is a word of the language, or has other characters than letters and digits, stands in double brackets: `tags.[[group]]`.",
                    ),
                    literal!({ "minLength": 1, "maxLength": 4096, "examples": ["tags.site = 'north' AND status = 'enabled'"] }),
                )
            }),
            optional("select", || {
                with(
                    help(
                        one_of("Select", &["twin", "summary"]),
                        "`twin`: tags and properties as well. `summary`: only what a list shows, which is faster for many devices.",
                    ),
                    literal!({ "default": "twin" }),
                )
            }),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "condition": "tags.site = 'north'", "pageSize": 100 }"#,
        output: || fields::page_output("Devices", fields::listed_device_output()),
        output_sample: || json!({ "items": [fields::twin_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, ("Devices of a page", 1000, "items")],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        list(session, input, state, |session, input, size, continuation| {
            let columns = if input.text("select") == Some("summary") { COLUMNS } else { "*" };
            let query = match input.text("condition") {
                None => format!("SELECT {columns} FROM devices"),
                Some(condition) => format!("SELECT {columns} FROM devices WHERE ({condition})"),
            };
            session.hub().query(&query, size, continuation)
        })
    },
};
