//! Reads an automatic configuration or an IoT Edge deployment.
//!
//! ```scenario
//! done {"configurationId": "interval-1"}
//! done {"configurationId": "interval-1"} under hub:GET /configurations/*=503x1
//! not-found {"configurationId": "missing"}
//! invalid-input {"configurationId": "a/b"}
//! ```

use super::shared;
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-configuration",
        title: "Get a configuration",
        help: "Reads an automatic configuration or an IoT Edge deployment, with how many devices it is for and how many it was applied to. Needs a hub of the Standard or Free tier.",
        group: "Configurations",
        input: &[required("configurationId", shared::configuration_id)],
        input_sample: r#"{ "configurationId": "interval-north" }"#,
        output: shared::output,
        output_sample: shared::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::CONFIGURATIONS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| Ok(session.hub().configuration(&input.configuration()?)?.document),
};
