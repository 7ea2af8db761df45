//! Lists devices with the hub's query language, because a list of the registry itself ends after 1,000 devices.
//!
//! ```scenario
//! pages {"pageSize": 2}
//! pages {"pageSize": 1, "select": "summary", "condition": "tags.site = 'north'"}
//! done {"condition": "tags.site = 'nowhere'"}
//! invalid-input {"condition": "tags.site = = 'north'"}
//! ```

use serde::Deserialize;
use serde_json::{Value, json};

use crate::actions::shared::{Action, paging};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::Result;
use crate::form::schema::literal;
use crate::form::schema::{help, object, one_of, string, with};
use crate::form::{Spec, fields, typed};
use crate::session::Session;

pub struct ListDevices;

const ID: &str = "list-devices";
/// The columns of a device's summary.
const COLUMNS: &str =
    "deviceId, etag, status, statusReason, connectionState, lastActivityTime, authenticationType, capabilities";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    condition: Option<String>,
    select: Option<String>,
    page_size: Option<u32>,
}

impl Action for ListDevices {
    fn id(&self) -> &'static str {
        ID
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "List devices",
            help: "Lists the devices of the hub, or those that meet a condition of the hub's query language, page by page. \
                   A query may lag behind by seconds. Needs a hub of the Standard or Free tier.",
            group: "Devices",
            input: object(
                [
                    (
                        "condition",
                        with(
                            help(
                                string("Condition"),
                                "What stands after WHERE in the hub's query language. Empty: all devices. \
                                 A name that is a word of the language, or has other characters than letters and digits, stands in double brackets: `tags.[[group]]`.",
                            ),
                            literal!({ "minLength": 1, "maxLength": 4096, "examples": ["tags.site = 'north' AND status = 'enabled'"] }),
                        ),
                    ),
                    (
                        "select",
                        with(
                            help(
                                one_of("Select", &["twin", "summary"]),
                                "`twin`: tags and properties as well. `summary`: only what a list shows, which is faster for many devices.",
                            ),
                            literal!({ "default": "twin" }),
                        ),
                    ),
                    ("pageSize", fields::page_size()),
                ],
                &[],
            ),
            output: fields::page_output("Devices", fields::listed_device_output()),
            input_sample: literal!({ "condition": "tags.site = 'north'", "pageSize": 100 }),
            output_sample: json!({ "items": [fields::twin_sample()] }),
            dynamic_output: false,
            permissions: &[Permission::ServiceConnect],
            limits: &[("Queries of an S1 unit", 20, "requests/minute"), ("Devices of a page", 1000, "items")],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Read,
            idempotency: Idempotency::Natural,
            paged: true,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        page(session, &input, None)
    }

    fn resume(&self, session: &Session, token: &str, _call: &Call) -> Result<Outcome> {
        let (input, continuation) = paging::open(self, token)?;
        page(session, &input, Some(&continuation))
    }
}

fn page(session: &Session, input: &Value, continuation: Option<&str>) -> Result<Outcome> {
    let typed: Input = typed(input.clone())?;
    let columns = if typed.select.as_deref() == Some("summary") { COLUMNS } else { "*" };
    let query = match &typed.condition {
        None => format!("SELECT {columns} FROM devices"),
        Some(condition) => format!("SELECT {columns} FROM devices WHERE ({condition})"),
    };
    let page = session.hub().query(&query, paging::size(typed.page_size), continuation)?;
    Ok(paging::outcome(ID, input, page))
}
