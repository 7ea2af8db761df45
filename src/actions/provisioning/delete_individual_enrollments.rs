//! Deletes any number of individual enrollments.
//!
//! ```scenario
//! done {"registrationIds": ["lot-1", "lot-2", "lot-3", "lot-4", "lot-5", "lot-6", "lot-7", "lot-8", "lot-9", "lot-10", "lot-11", "lot-12"]}
//! done {"registrationIds": ["lot-1", "lot-13"], "ifMissing": "ignore"}
//! done {"registrationIds": ["missing", "lot-14"]}
//! done {"registrationIds": ["lot-17", "lot-18"]} under dps:POST /enrollments=drop-afterx1
//! invalid-input {"registrationIds": ["lot-1", "LOT-1"]}
//! ```

use super::form;
use super::many::{self, Work};
use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::IF_MISSING;
use crate::actions::shared::stepped::Stepped;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::dps::Kind;
use crate::form::fields;

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "delete-individual-enrollments",
        title: "Delete individual enrollments",
        help: "Removes any number of individual enrollments from the Device Provisioning Service, ten in one request, with a result for each: an entry that fails does not stop the others. A device that has registered stays in its hub; delete it there as well to keep it out.",
        group: "Enrollments",
        input: &[required("registrationIds", || form::ids("Registration ids", fields::registration_id())), IF_MISSING],
        input_sample: r#"{ "registrationIds": ["press-17", "press-18"], "ifMissing": "ignore" }"#,
        output: || form::results("registrationId"),
        output_sample: || form::results_sample("registrationId"),
        dynamic_output: false,
        permissions: &[Permission::EnrollmentWrite],
        limits: &[limits::PROVISIONING, limits::BULK],
        effect: Effect::Destructive,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| many::step(Kind::Individual, Work::Delete, session, input, state),
};
