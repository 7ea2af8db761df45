//! Changes what can be changed of a configuration.
//!
//! ```scenario
//! done {"configurationId": "made-1", "priority": 11}
//! done {"configurationId": "made-1", "targetCondition": "", "labels": {"team": "night"}, "metrics": {}}
//! done {"configurationId": "made-1", "targetCondition": "tags.site='nowhere'"} tagged get-configuration {"configurationId": "made-1"}
//! done {"configurationId": "made-1", "priority": 12} under hub:PUT /configurations/*=drop-afterx1
//! done {"configurationId": "made-1", "priority": 13, "content": {"deviceContent": {"properties.desired.interval": {"seconds": 30}}}}
//! invalid-input {"configurationId": "made-1", "priority": 14, "content": {"deviceContent": {"properties.desired.interval": {"seconds": 31}}}}
//! invalid-input {"configurationId": "made-1"}
//! precondition-failed {"configurationId": "made-1", "priority": 1, "etag": "$stale"}
//! not-found {"configurationId": "missing", "priority": 1}
//! ```

use serde_json::Value;

use super::shared;
use crate::actions::shared::change::{self, set};
use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::input::Input;
use crate::actions::shared::single::Single;
use crate::actions::shared::{limits, removal};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{Error, Result};
use crate::form::schema::{help, literal, with};
use crate::http::IfMatch;
use crate::json;

/// The fields that change something, and where each stands in a configuration.
const CHANGES: [(&str, &[&str]); 4] = [
    ("targetCondition", &["targetCondition"]),
    ("priority", &["priority"]),
    ("labels", &["labels"]),
    ("metrics", &["metrics", "queries"]),
];

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "update-configuration",
        title: "Update a configuration",
        help: "Changes the target condition, the priority, the labels or the metric queries of a configuration or deployment; what is not given stays. \
               The content cannot be changed: create another configuration with a higher priority instead. \
               Devices that no longer meet the condition get the content of the next configuration that is for them; without one, they keep what they have.",
        group: "Configurations",
        input: &[
            required("configurationId", shared::configuration_id),
            optional("targetCondition", shared::target_condition),
            optional("priority", shared::priority),
            optional("labels", || with(shared::labels(), literal!({ "description": "They replace all labels." }))),
            optional("metrics", || {
                with(shared::metrics(), literal!({ "description": "They replace all metric queries." }))
            }),
            optional("content", || {
                with(
                    help(
                        shared::content(),
                        "Cannot be changed. If it is given, it must be the content that the configuration has.",
                    ),
                    literal!({ "x-visibility": "advanced" }),
                )
            }),
            removal::ETAG,
        ],
        input_sample: r#"{ "configurationId": "interval-north", "priority": 20 }"#,
        output: shared::output,
        output_sample: shared::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite],
        limits: &[limits::CONFIGURATIONS],
        effect: Effect::Write,
        idempotency: Idempotency::Conditional,
    },
    run: |session, input, _| {
        let id = input.configuration()?;
        let stated = input.stated_if_match()?;
        if CHANGES.iter().all(|(name, _)| input.get(name).is_none()) {
            return Err(Error::field("", "nothing-to-change", "must state at least one change"));
        }
        let hub = session.hub();
        let changed = change::apply(
            stated.as_ref(),
            || hub.configuration(&id).map(Some),
            |found| edit(input, found.unwrap_or_default()),
            |mut wanted, if_match| {
                let if_match = if_match.unwrap_or(&IfMatch::Any);
                if let IfMatch::Tag(etag) = if_match {
                    // The header decides; the body's ETag must not contradict it.
                    set(&mut wanted, &["etag"], etag.as_str().into());
                }
                let written = hub.put_configuration(&id, wanted.clone(), Some(if_match));
                shared::confirmed(written, &wanted, || hub.configuration(&id))
            },
        )?;
        Ok(changed.document)
    },
};

fn edit(input: &Input, mut configuration: Value) -> Result<Value> {
    if let Some(content) = input.get("content") {
        let own = configuration.get("content");
        // The hub names the kinds that a configuration does not have with null.
        let own_of = |kind: &str| own.and_then(|own| own.get(kind)).filter(|own| !own.is_null());
        let differs = shared::KINDS.iter().any(|kind| match (content.get(*kind), own_of(kind)) {
            (None, None) => false,
            (Some(given), Some(own)) => !json::same(given, own),
            _ => true,
        });
        if differs {
            return Err(Error::field(
                "/content",
                "immutable",
                "cannot be changed after the creation: leave it out, or create another configuration with a higher priority",
            ));
        }
    }
    for (name, path) in CHANGES {
        if let Some(value) = input.get(name) {
            set(&mut configuration, path, value.clone());
        }
    }
    Ok(configuration)
}
