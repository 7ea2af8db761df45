//! Deletes a configuration.
//!
//! ```scenario
//! done {"configurationId": "doomed-1", "ifMissing": "ignore"}
//! done {"configurationId": "doomed-1", "ifMissing": "ignore"}
//! done {"configurationId": "made-3"} tagged get-configuration {"configurationId": "made-3"}
//! precondition-failed {"configurationId": "made-1", "etag": "$stale"}
//! not-found {"configurationId": "missing"}
//! ```

use super::shared;
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::{ETAG, IF_MISSING, remove};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;
use crate::form::schema::literal;
use crate::http::{PathId as _, Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "delete-configuration",
        title: "Delete a configuration",
        help: "Deletes an automatic configuration or an IoT Edge deployment. This cannot be undone. Its devices get the content of the next configuration that is for them; without one, they keep what they have.",
        group: "Configurations",
        input: &[required("configurationId", shared::configuration_id), IF_MISSING, ETAG],
        input_sample: r#"{ "configurationId": "interval-north", "ifMissing": "ignore" }"#,
        output: || fields::deleted_output("configurationId", "Configuration id"),
        output_sample: || literal!({ "configurationId": "interval-north", "deleted": true }),
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: &[limits::CONFIGURATIONS],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.configuration()?;
        remove(session, input, &["configurationId"], |session, if_match| {
            let segments = ["configurations", id.as_str()];
            let request = Request::new(Method::Delete, segments, Safety::Repeatable, Permission::RegistryWrite);
            session.hub().send(&request.header("if-match", if_match)).map(drop)
        })
    },
};
