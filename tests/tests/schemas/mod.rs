//! The descriptor must be true: its schemas are valid, its samples, outputs and events fit these schemas, and its parts
//! fit together. A full JSON Schema validator judges this, not the component's own code.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::discovery::Direction;
use connector_host::interface::metadata::{Descriptor, Operation};
use connector_host::interface::trigger::{Event, Payload, Start};
use connector_host::interface::types::ErrorCode;
use connector_tests::heads::Source;
use connector_tests::{World, connector};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::scenario::{self, Recording};

/// Collects all problems, so that one run shows all of them.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, fine: bool, problem: impl FnOnce() -> String) {
        if !fine {
            self.0.push(problem());
        }
    }

    fn fit(&mut self, schema: &Validator, value: &Value, what: &str) {
        // The message names no values, because they may be keys.
        self.0.extend(
            schema.iter_errors(value).map(|error| format!("{what} at '{}': {}", error.instance_path(), error.masked())),
        );
    }

    #[track_caller]
    fn end(self) {
        assert!(self.0.is_empty(), "{} findings:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// Checks a schema against its meta-schema, and makes a validator of it.
fn compile(text: &str, what: &str, findings: &mut Findings) -> Result<(Value, Validator)> {
    let schema: Value = serde_json::from_str(text).with_context(|| format!("{what} is not JSON"))?;
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        findings.0.push(format!("{what} is no schema, at '{}': {error}", error.instance_path()));
    }
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema)
        .map_err(|error| anyhow::anyhow!("{what} cannot be used: {error}"))?;
    Ok((schema, validator))
}

fn operations(descriptor: &Descriptor) -> impl Iterator<Item = (&Operation, bool)> {
    let triggers = descriptor.triggers.iter().map(|trigger| (&trigger.operation, true));
    triggers.chain(descriptor.actions.iter().map(|action| (&action.operation, false)))
}

/// Whether a text has this format.
fn is_of_format(format: &str, text: &str) -> bool {
    let schema = json!({ "type": "string", "format": format });
    let validator = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).build(&schema);
    validator.is_ok_and(|validator| validator.is_valid(&text.into()))
}

fn is_kebab_case(id: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    id.starts_with(|first: char| first.is_ascii_lowercase()) && id.split('-').all(part)
}

#[tokio::test]
async fn the_descriptor_holds_together() -> Result<()> {
    let world = World::start().await?;
    let descriptor = world.connector.descriptor();
    let mut findings = Findings::default();
    let mut schemas = 0;

    for profile in &descriptor.auth_profiles {
        let what = format!("the schema of the profile {}", profile.id);
        let (schema, _) = compile(&profile.schema, &what, &mut findings)?;
        judge_annotations(&schema, &what, &mut findings);
        schemas += 1;
    }
    for (operation, _) in operations(descriptor) {
        for (side, schema, sample) in [
            ("input", &operation.input_schema, &operation.input_sample),
            ("output", &operation.output_schema, &operation.output_sample),
        ] {
            let what = format!("the {side} of {}", operation.id);
            let (schema, validator) = compile(schema, &format!("the schema of {what}"), &mut findings)?;
            findings.fit(&validator, &serde_json::from_str(sample)?, &format!("the sample of {what}"));
            judge_annotations(&schema, &what, &mut findings);
            schemas += 1;
        }
        for permission in &operation.permissions {
            let declared = descriptor.permissions.iter().any(|declared| declared.id == *permission);
            findings.check(declared, || format!("{} needs {permission}, which is not declared", operation.id));
        }
        findings.check(operation.revision >= 1, || format!("{} has the revision 0", operation.id));
        for (text, name) in [(&operation.title, "title"), (&operation.help, "help"), (&operation.group, "group")] {
            findings.check(!text.trim().is_empty(), || format!("{} has no {name}", operation.id));
        }
        if let Some(successor) = &operation.deprecated_by {
            let exists = operations(descriptor).any(|(other, _)| other.id == *successor);
            findings.check(exists, || format!("{} gives way to {successor}, which is not there", operation.id));
        }
    }
    for trigger in &descriptor.triggers {
        findings.check(!trigger.start_modes.is_empty(), || format!("{} cannot begin", trigger.operation.id));
    }

    let ids: [(&str, Vec<&str>); 4] = [
        ("connector", vec![&descriptor.id]),
        ("profile", descriptor.auth_profiles.iter().map(|it| it.id.as_str()).collect()),
        ("permission", descriptor.permissions.iter().map(|it| it.id.as_str()).collect()),
        ("operation", operations(descriptor).map(|(it, _)| it.id.as_str()).collect()),
    ];
    for (kind, ids) in ids {
        let mut seen = BTreeSet::new();
        for id in ids {
            findings.check(is_kebab_case(id), || format!("the id of the {kind} {id} is not in kebab-case"));
            findings.check(seen.insert(id), || format!("there are two of the {kind} {id}"));
        }
    }

    // An account with all fields, including a pinned Event Hub-compatible endpoint.
    let mut full = connector_tests::values(&world.emulator, "connector", "connector")?;
    full["eventHubEndpoint"] = format!("sb://{}/", world.emulator.event_hub_host()).into();
    full["eventHubPath"] = world.emulator.event_hub_name().into();
    // The AMQP transport decides which host fields the egress rules use, so both transports are checked.
    let over_web_sockets = connector_tests::over_web_sockets(full.clone());
    let mut normalized = Vec::new();
    for values in [full.clone(), over_web_sockets] {
        let validation = world.connector.account(&world.tenant, &connector_tests::link(values)).validate().await?;
        findings.check(validation.is_usable(), || format!("a full account has problems: {:?}", validation.problems));
        normalized.push(serde_json::from_str::<Value>(&validation.normalized)?);
    }
    findings.check(!descriptor.egress.is_empty(), || "nothing may be reached".to_owned());
    for rule in &descriptor.egress {
        for field in rule.host.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(field, _)| field) {
            let filled = normalized.iter().any(|all| all[field].as_str().is_some_and(|text| !text.is_empty()));
            findings
                .check(filled, || format!("the egress rule {} names the field {field}, which stays empty", rule.host));
        }
    }
    let profile = descriptor.auth_profiles.iter().find(|it| it.id == "shared-access-key").context("no profile")?;
    let (_, validator) = compile(&profile.schema, "the profile's schema", &mut findings)?;
    findings.fit(&validator, &full, "the values of a full account");

    println!("{schemas} schemas and their samples");
    findings.end();
    Ok(())
}

/// Defaults and examples inside of a schema must fit the schema at their place.
fn judge_annotations(schema: &Value, what: &str, findings: &mut Findings) {
    let Some(members) = schema.as_object() else { return };
    if let Ok(validator) = jsonschema::options().with_draft(Draft::Draft202012).build(schema) {
        let examples = members.get("examples").and_then(Value::as_array).into_iter().flatten();
        for value in members.get("default").into_iter().chain(examples) {
            findings.fit(&validator, value, &format!("a default or example inside of {what}"));
        }
    }
    for (name, inner) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
        judge_annotations(inner, &format!("{what}, {name}"), findings);
    }
    if let Some(items) = members.get("items") {
        judge_annotations(items, &format!("{what}, entries"), findings);
    }
}

/// `describe` must be pure: three separate instances return the same bytes.
#[tokio::test]
async fn the_descriptor_never_changes() -> Result<()> {
    let mut texts = BTreeSet::new();
    for _ in 0..3 {
        texts.insert(serde_json::to_string(connector().await?.descriptor())?);
    }
    assert_eq!(texts.len(), 1, "{texts:?}");
    Ok(())
}

/// What actions returned and triggers delivered in a run must fit the descriptor's schemas.
pub async fn what_happens_is_what_is_described(recording: &Recording) -> Result<()> {
    let world = &recording.world;
    let descriptor = world.connector.descriptor();
    let watches = scenario::triggers()?;
    let mut findings = Findings::default();
    let (mut outputs, mut events) = (0, 0);

    for (operation, is_trigger) in operations(descriptor) {
        let what = format!("the output of {}", operation.id);
        let (_, validator) = compile(&operation.output_schema, &what, &mut findings)?;
        if is_trigger {
            let fired =
                recording.events.get(&operation.id).with_context(|| format!("{} delivered no events", operation.id))?;
            for event in fired {
                findings.fit(&validator, &data(event)?, &format!("an event of {}", operation.id));
                events += 1;
            }
            let config = watches.get(&operation.id).map(|watch| watch.config.to_string()).unwrap_or_default();
            for event in world.account().sample(&operation.id, &config, 5).await? {
                findings.fit(&validator, &data(&event)?, &format!("a live sample of {}", operation.id));
                events += 1;
            }
        } else {
            let given =
                recording.outputs.get(&operation.id).with_context(|| format!("{} returned no output", operation.id))?;
            for output in given {
                findings.fit(&validator, output, &what);
                outputs += 1;
            }
        }
    }
    judge_cloud_events(&recording.events, &mut findings);
    println!(
        "{outputs} outputs of {} actions, {events} events of {} triggers",
        descriptor.actions.len(),
        descriptor.triggers.len()
    );
    findings.end();
    Ok(())
}

fn data(event: &Event) -> Result<Value> {
    match &event.data {
        Payload::Json(text) => Ok(serde_json::from_str(text)?),
        other => anyhow::bail!("the data of {} is not JSON: {other:?}", event.id),
    }
}

/// Checks the attributes of events by the rules of CloudEvents 1.0.
fn judge_cloud_events(fired: &BTreeMap<String, Vec<Event>>, findings: &mut Findings) {
    const OWN: [&str; 9] =
        ["id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time", "data"];
    let mut seen = BTreeSet::new();
    let mut times = 0;
    for (trigger, events) in fired {
        for event in events {
            let mut rule =
                |fine: bool, rule: &str| findings.check(fine, || format!("{trigger}: an event's {rule}: {event:?}"));
            rule(!event.id.is_empty(), "id is empty");
            rule(seen.insert((event.source.clone(), event.id.clone())), "id is not unique within its source");
            rule(
                !event.source.is_empty() && is_of_format("uri-reference", &event.source),
                "source is not a URI reference",
            );
            let reverse_dns = event.event_type.split('.').all(|part| !part.is_empty());
            rule(!event.event_type.is_empty() && reverse_dns, "type is empty or has empty parts");
            rule(event.subject.as_ref().is_none_or(|subject| !subject.is_empty()), "subject is empty");
            rule(event.subject.is_some(), "subject is missing");
            rule(event.time.as_ref().is_none_or(|time| is_of_format("date-time", time)), "time is not after RFC 3339");
            times += usize::from(event.time.is_some());
            let is_json = matches!(event.data, Payload::Json(_));
            let kind = event.content_type.as_deref();
            rule(is_json == (kind == Some("application/json")), "content type does not say what the data is");
            for attribute in &event.attributes {
                let name = attribute.name.as_str();
                let lower = !name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
                rule(lower && !OWN.contains(&name), "attribute has a name that is none");
            }
            rule(!event.order_key.is_empty() && !event.summary.is_empty(), "order key or summary is empty");
            rule(!event.position.is_empty(), "position is empty");
        }
    }
    findings.check(times > 0, || "no event has a time".to_owned());
}

/// Schemas that depend on the account must be valid, and the account's data must fit them.
pub async fn resolved_schemas_fit_what_is_there(recording: &Recording) -> Result<()> {
    let World { connector, tenant, connection, emulator } = &recording.world;
    let mut findings = Findings::default();
    let actions = scenario::actions(emulator.ca_pem())?;
    let triggers = scenario::triggers()?;
    let mut resolved = 0;
    for (operation, is_trigger) in operations(connector.descriptor()) {
        let id = operation.id.as_str();
        let filled = if is_trigger {
            triggers.get(id).map(|watch| watch.config.clone())
        } else {
            actions.get(id).and_then(|scenario| scenario.steps.first()).map(|step| step.input().clone())
        };
        let filled = filled.with_context(|| format!("{id} has no scenario"))?;
        for (direction, dynamic) in
            [(Direction::Input, operation.dynamic_input), (Direction::Output, operation.dynamic_output)]
        {
            for partial in [json!({}), filled.clone()] {
                let schema =
                    connector.account(tenant, connection).resolve_schema(id, direction, &partial.to_string()).await;
                if !dynamic {
                    let code = schema.err().and_then(|error| error.connector().map(|error| error.code));
                    findings.check(code == Some(ErrorCode::Unsupported), || {
                        format!("{id}: {direction:?} is not dynamic, and asking for it yields {code:?}")
                    });
                    continue;
                }
                let what = format!("the schema of {id} as resolved for {partial}, {direction:?}");
                let (schema, validator) = compile(&schema?, &what, &mut findings)?;
                judge_annotations(&schema, &what, &mut findings);
                resolved += 1;
                if direction == Direction::Input {
                    findings.fit(&validator, &filled, &what);
                } else if partial == filled && is_trigger {
                    let world = &recording.world;
                    let is_log = triggers.get(id).is_some_and(|watch| matches!(watch.source, Source::Log { .. }));
                    // A log has partitions. What the run read of them is still there.
                    let events = match is_log {
                        true => recording.events.get(id).cloned().unwrap_or_default(),
                        false => world.drain(id, filled.clone(), Start::Earliest, None).await?.0,
                    };
                    findings.check(!events.is_empty(), || format!("{id} fired nothing"));
                    for event in &events {
                        findings.fit(&validator, &data(event)?, &what);
                    }
                } else if partial == filled {
                    let input = filled.to_string();
                    match connector.account(tenant, connection).invoke(id, &input, &Call::default()).await? {
                        Outcome::Done(output) => findings.fit(&validator, &serde_json::from_str(&output)?, &what),
                        other => findings.0.push(format!("{id} answered {other:?}")),
                    }
                }
            }
        }
    }
    println!("{resolved} resolved schemas");
    findings.check(resolved > 0, || "no schema was resolved".to_owned());
    findings.end();
    Ok(())
}
