//! Reads the state of a registration.
//!
//! ```scenario
//! done {"registrationId": "grouped-1"}
//! done {"registrationId": "loom-1"}
//! not-found {"registrationId": "loom-2"}
//! ```

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::fields;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "get-registration-state",
        title: "Get a registration state",
        help: "Reads how far the registration of a device with the Device Provisioning Service is, and which hub it was assigned to.",
        group: "Registrations",
        input: &[required("registrationId", fields::registration_id)],
        input_sample: r#"{ "registrationId": "press-17" }"#,
        output: fields::registration_output,
        output_sample: fields::registration_sample,
        dynamic_output: false,
        permissions: &[Permission::RegistrationStatusRead],
        limits: &[limits::PROVISIONING],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| Ok(session.dps()?.registration(&input.registration()?)?.document),
};
