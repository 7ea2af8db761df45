//! Lists the children of an IoT Edge device.
//!
//! ```scenario
//! pages {"deviceId": "edge-1", "pageSize": 1}
//! done {"deviceId": "edge-2", "select": "summary"}
//! not-found {"deviceId": "missing"}
//! invalid-input {"deviceId": "press-1"}
//! ```

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::edge::scope_of;
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Step, Stepped, foreign_state, page_size};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::iothub::text_literal;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "list-child-devices",
        title: "List the children of a device",
        help: "Lists the devices whose parent is an IoT Edge device, page by page; the children's own children are not in the list. \
               A query may lag behind by seconds. Needs a hub of the Standard or Free tier.",
        group: "Devices",
        input: &[
            required("deviceId", fields::device_id),
            optional("select", fields::device_select),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "deviceId": "gateway-1", "pageSize": 100 }"#,
        output: || fields::page_output("Devices", fields::listed_device_output()),
        output_sample: || json!({ "items": [fields::twin_sample()] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::IDENTITIES, limits::PAGE],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        let (scope, continuation) = match state {
            None => (scope_of(&session.hub().device(&input.device()?)?.document, "/deviceId")?, None),
            Some(state) => {
                let text = |name: &str| state.get(name).and_then(Value::as_str).ok_or_else(foreign_state);
                (text("scope")?.to_owned(), Some(text("continuation")?))
            }
        };
        let columns = if input.text("select") == Some("summary") { fields::DEVICE_COLUMNS } else { "*" };
        let query =
            format!("SELECT {columns} FROM devices WHERE ARRAY_CONTAINS(parentScopes, {})", text_literal(&scope));
        let page = session.hub().query(&query, page_size(input), continuation)?;
        let output = json!({ "items": page.items });
        Ok(match page.continuation {
            None => Step::Done(output),
            Some(next) => {
                let state = json!({ "scope": scope, "continuation": next });
                Step::Page { output, input: input.document().clone(), state }
            }
        })
    },
};
