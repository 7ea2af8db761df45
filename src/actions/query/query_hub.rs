//! Runs a query in the hub's own language.
//!
//! ```scenario
//! pages {"query": "SELECT * FROM devices WHERE tags.site = 'north'", "pageSize": 2}
//! pages {"query": "SELECT deviceId, tags.site AS site FROM devices", "pageSize": 2}
//! done {"query": "SELECT status, COUNT() AS numberOfDevices FROM devices GROUP BY status"}
//! done {"query": "SELECT * FROM devices.modules WHERE moduleId = 'cooling'"}
//! done {"query": "SELECT * FROM devices.jobs"}
//! done {"query": "SELECT * FROM devices WHERE deviceId = 'press-1'"} under hub:POST /devices/query=503x1
//! invalid-input {"query": "SELECT FROM WHERE"}
//! invalid-input {"query": "SELECT * FROM enrollments"}
//! ```

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::{any_object, help, literal, string, with};

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "query-hub",
        title: "Query the hub",
        help: "Runs a query in the hub's query language and returns its rows page by page: twins of devices and modules, columns of them, counts and other aggregates, and what jobs did on devices. \
               The collections are `devices`, `devices.modules` and `devices.jobs`. A query may lag behind by seconds. \
               Never build the text of a query from what others wrote: **Query devices by conditions** escapes it. Needs a hub of the Standard or Free tier.",
        group: "Queries",
        input: &[
            required("query", || {
                with(
                    help(
                        string("Query"),
                        "A name that is a word of the language, or has other characters than letters and digits, stands in double brackets: `tags.[[group]]`.",
                    ),
                    literal!({
                        "minLength": 1,
                        "maxLength": 8192,
                        "examples": ["SELECT tags.site AS site, COUNT() AS numberOfDevices FROM devices GROUP BY tags.site"]
                    }),
                )
            }),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "query": "SELECT deviceId, tags.site FROM devices WHERE status = 'enabled'", "pageSize": 100 }"#,
        output: || fields::page_output("Rows", any_object("Row")),
        output_sample: || literal!({ "items": [{ "deviceId": "press-17", "site": "north" }] }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::PAGE, ("Length of a query", 8192, "characters")],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        list(session, input, state, |session, input, size, continuation| {
            session.hub().query(input.required_text("query"), size, continuation)
        })
    },
};
