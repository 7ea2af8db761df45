//! Lists the automatic configurations and IoT Edge deployments.
//!
//! ```scenario
//! done {}
//! done {} under hub:GET /configurations=503x1
//! ```

use serde_json::json;

use super::shared;
use crate::actions::shared::declaration::Declaration;
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "list-configurations",
        title: "List configurations",
        help: "Lists all automatic configurations and IoT Edge deployments of the hub, at most 100: a hub has no more. Needs a hub of the Standard or Free tier.",
        group: "Configurations",
        input: &[],
        input_sample: "{}",
        output: shared::list_output,
        output_sample: || json!({ "items": [shared::sample()] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::CONFIGURATIONS, shared::MOST],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, _, _| Ok(json!({ "items": session.hub().configurations()? })),
};
