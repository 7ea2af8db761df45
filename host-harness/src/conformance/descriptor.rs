//! Checks what the connector declares: its imports and its descriptor.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonschema::Validator;
use semver::Version;
use serde_json::Value;
use wasmparser::{Parser, Payload};

use super::rules::Rule;
use super::trial::{Trial, is_kebab, is_pointer};
use crate::call::Connector;
use crate::call::exports::NAMES;
use crate::error::CallError;
use crate::interface::metadata::{Descriptor, EgressRule, Operation};
use crate::limits::Limits;
use crate::options::TenantOptions;
use crate::tenant::Tenant;

/// The packages of WASI 0.2 that a connector may import from.
const PACKAGES: [&str; 7] = ["io", "clocks", "random", "cli", "filesystem", "sockets", "http"];
/// The largest descriptor that a connector needs, in bytes.
const DESCRIPTOR_BYTES: usize = 4 << 20;

/// Checks the names of the component's imports.
pub(super) fn imports(wasm: &[u8], trial: &mut Trial) {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
            Ok(Payload::ComponentImportSection(section)) if depth == 0 => {
                for import in section.into_iter().flatten() {
                    let name = import.name.name;
                    trial.check(Rule::Imports, is_permitted(name), || format!("imports {name:?}"));
                }
            }
            Ok(_) => {}
            // Loading the component reports the same error in better words.
            Err(_) => return,
        }
    }
    // A component without imports keeps the rule as well.
    trial.kept(Rule::Imports);
}

fn is_permitted(name: &str) -> bool {
    // The connector's own types are imported by name; this import contains no function to call.
    if name.starts_with("workflow:connector/types@") {
        return true;
    }
    let Some((package, rest)) = name.strip_prefix("wasi:").and_then(|rest| rest.split_once('/')) else { return false };
    let Some((interface, version)) = rest.split_once('@') else { return false };
    let stable = version
        .parse::<Version>()
        .is_ok_and(|version| (version.major, version.minor) == (0, 2) && version.pre.is_empty());
    PACKAGES.contains(&package) && (package != "http" || interface != "incoming-handler") && stable
}

pub(super) async fn judge(connector: &Connector, trial: &mut Trial) {
    again(connector, trial).await;
    let descriptor = connector.descriptor();
    identity(connector, descriptor, trial);
    ids(descriptor, trial);
    for profile in &descriptor.auth_profiles {
        let what = format!("profile {}", profile.id);
        if let Some((schema, _)) = schema(&what, &profile.schema, true, trial) {
            annotations(&what, &schema, trial);
            secrets(&what, &schema, trial);
        }
    }
    for operation in operations(descriptor) {
        judge_operation(operation, descriptor, trial);
    }
    for trigger in &descriptor.triggers {
        let modes = &trigger.start_modes;
        let id = &trigger.operation.id;
        trial.check(Rule::Operations, !modes.is_empty(), || format!("{id} has no start mode"));
        let distinct = modes.iter().enumerate().all(|(index, mode)| !modes[..index].contains(mode));
        trial.check(Rule::Operations, distinct, || format!("{id} lists a start mode twice"));
    }
    for name in &descriptor.unsupported {
        let known = NAMES.iter().any(|(interface, function)| *name == format!("{interface}.{function}"));
        trial.check(Rule::Operations, known, || format!("unsupported: there is no function {name:?}"));
    }
}

/// Another instance must return the same descriptor, with tighter limits than the usual ones.
async fn again(connector: &Connector, trial: &mut Trial) {
    let limits = Limits {
        cpu: Duration::from_secs(1),
        memory_bytes: 16 << 20,
        deadline: Duration::from_secs(20),
        output_bytes: DESCRIPTOR_BYTES,
        ..Limits::default()
    };
    let options = TenantOptions { name: "(conformance)".to_owned(), limits, ..TenantOptions::default() };
    let described = match Tenant::new(options) {
        Ok(tenant) => connector.describe_again(&tenant).await,
        Err(error) => Err(CallError::Host { message: error.to_string() }),
    };
    match described {
        Ok(descriptor) => {
            trial.kept(Rule::Cheap);
            let same = serde_json::to_string(&descriptor).ok() == serde_json::to_string(connector.descriptor()).ok();
            trial.check(Rule::Deterministic, same, || "two instances describe themselves differently".to_owned());
        }
        Err(error) => trial.breach(Rule::Cheap, error.to_string()),
    }
}

fn identity(connector: &Connector, descriptor: &Descriptor, trial: &mut Trial) {
    let Descriptor { id, version, interface_version, title, auth_profiles, .. } = descriptor;
    trial.check(Rule::Identity, is_kebab(id), || format!("the id {id:?} is not kebab-case"));
    let semantic = version.parse::<Version>().is_ok();
    trial.check(Rule::Identity, semantic, || format!("the version {version:?} is not a semantic version"));
    let same = interface_version.parse::<Version>().ok().as_ref() == Some(connector.interface_version());
    trial.check(Rule::Identity, same, || {
        format!(
            "the descriptor states the interface version {interface_version:?}, but the component exports {}",
            connector.interface_version()
        )
    });
    trial.check(Rule::Identity, !title.trim().is_empty(), || "the descriptor has no title".to_owned());
    trial.check(Rule::Identity, !auth_profiles.is_empty(), || "the descriptor has no authorization profile".to_owned());
}

fn ids(descriptor: &Descriptor, trial: &mut Trial) {
    let families: [(&str, Vec<&String>); 3] = [
        ("operation", operations(descriptor).map(|operation| &operation.id).collect()),
        ("profile", descriptor.auth_profiles.iter().map(|profile| &profile.id).collect()),
        ("permission", descriptor.permissions.iter().map(|permission| &permission.id).collect()),
    ];
    for (family, ids) in families {
        let mut seen = BTreeSet::new();
        for id in ids {
            trial.check(Rule::Ids, is_kebab(id), || format!("the {family} {id:?} is not kebab-case"));
            trial.check(Rule::Ids, seen.insert(id), || format!("the {family} {id:?} occurs twice"));
        }
    }
}

fn judge_operation(operation: &Operation, descriptor: &Descriptor, trial: &mut Trial) {
    let Operation { id, revision, deprecated_by, title, permissions, .. } = operation;
    trial.check(Rule::Operations, *revision >= 1, || format!("{id} has the revision 0"));
    trial.check(Rule::Operations, !title.trim().is_empty(), || format!("{id} has no title"));
    if let Some(successor) = deprecated_by {
        let known = successor != id && operations(descriptor).any(|other| other.id == *successor);
        trial.check(Rule::Operations, known, || format!("{id} is deprecated by {successor:?}, which does not exist"));
    }
    for permission in permissions {
        let declared = descriptor.permissions.iter().any(|declared| declared.id == *permission);
        trial.check(Rule::Permissions, declared, || format!("{id} needs {permission:?}, which is not declared"));
    }
    for (side, text, sample, is_input) in [
        ("input", &operation.input_schema, &operation.input_sample, true),
        ("output", &operation.output_schema, &operation.output_sample, false),
    ] {
        let what = format!("{id}, {side}");
        let Some((schema, validator)) = schema(&what, text, is_input, trial) else { continue };
        if is_input {
            annotations(&what, &schema, trial);
        }
        match serde_json::from_str::<Value>(sample) {
            Ok(sample) => {
                let error = validator.iter_errors(&sample).next();
                trial.check(Rule::Samples, error.is_none(), || {
                    error
                        .map(|error| format!("{what} sample at '{}': {error}", error.instance_path()))
                        .unwrap_or_default()
                });
            }
            Err(error) => trial.breach(Rule::Samples, format!("{what} sample: {error}")),
        }
    }
}

/// Checks and returns a schema and its validator; a form's schema must describe an object.
fn schema(what: &str, text: &str, is_form: bool, trial: &mut Trial) -> Option<(Value, Validator)> {
    let schema: Value = match serde_json::from_str(text) {
        Ok(schema) => schema,
        Err(error) => {
            trial.breach(Rule::Schemas, format!("{what}: {error}"));
            return None;
        }
    };
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        trial.breach(Rule::Schemas, format!("{what} at '{}': {error}", error.instance_path()));
        return None;
    }
    if is_form {
        let is_object = schema["type"] == "object";
        trial.check(Rule::Schemas, is_object, || format!("{what}: the schema of a form must have the type `object`"));
    }
    match validator(&schema) {
        Ok(validator) => {
            trial.kept(Rule::Schemas);
            Some((schema, validator))
        }
        Err(error) => {
            trial.breach(Rule::Schemas, format!("{what}: {error}"));
            None
        }
    }
}

/// A validator for the JSON Schema draft that the interface prescribes.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| error.to_string())
}

/// Checks the annotations of all fields of a form.
fn annotations(what: &str, schema: &Value, trial: &mut Trial) {
    for (name, field) in fields(schema) {
        let mut judge = |annotation: &str, fits: &dyn Fn(&Value) -> bool, needed: &str| {
            if let Some(value) = field.get(annotation) {
                trial.check(Rule::Annotations, fits(value), || {
                    format!("{what}: {annotation} of {name} is {value}, but must be {needed}")
                });
            }
        };
        let filled = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
        judge("x-help", &filled, "a text");
        judge("x-group", &filled, "a text");
        judge("x-options", &filled, "the name of a source");
        judge("x-visibility", &|value| value == "important" || value == "advanced", "`important` or `advanced`");
        judge(
            "x-depends-on",
            &|value| {
                let pointer = value.as_str().filter(|pointer| is_pointer(pointer)).and_then(|it| it.strip_prefix('/'));
                pointer.is_some_and(|field| fields(schema).any(|(name, _)| name == field))
            },
            "a pointer to a field",
        );
        judge("writeOnly", &Value::is_boolean, "true or false");
        judge(
            "x-host",
            &|value| *value == false || *value == true && field["writeOnly"] != true,
            "true or false, and not true for a secret",
        );
    }
}

/// Checks that fields whose names suggest a secret are marked as secrets.
fn secrets(what: &str, schema: &Value, trial: &mut Trial) {
    for (name, field) in fields(schema).filter(|(name, _)| sounds_secret(name)) {
        trial.check(Rule::SecretsMarked, field["writeOnly"] == true, || {
            format!("{what}: the name {name} suggests a secret, but the field is not `writeOnly`")
        });
    }
}

/// Whether the last word of the name suggests a secret.
pub(super) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["key", "secret", "password", "token", "passphrase", "connectionstring"].iter().any(|word| name.ends_with(word))
}

/// The fields of a form, with their names.
pub(super) fn fields(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Checks the egress rules. Their templates may name fields of the profiles and fields that `validate` derives.
pub(super) fn egress(descriptor: &Descriptor, trial: &mut Trial) {
    let schemas =
        descriptor.auth_profiles.iter().filter_map(|profile| serde_json::from_str::<Value>(&profile.schema).ok());
    let mut known: BTreeSet<String> =
        schemas.flat_map(|schema| fields(&schema).map(|(name, _)| name.clone()).collect::<Vec<_>>()).collect();
    known.append(&mut trial.normalized);
    for rule in &descriptor.egress {
        egress_rule(rule, &known, trial);
    }
}

fn egress_rule(rule: &EgressRule, known: &BTreeSet<String>, trial: &mut Trial) {
    let EgressRule { protocol: _, host, default_port, suffixes, purpose } = rule;
    let mut rest = host.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let Some((field, after)) = after.split_once('}') else {
            trial.breach(Rule::Egress, format!("{host:?} has a brace that is not closed"));
            break;
        };
        trial.check(Rule::Egress, known.contains(field), || {
            format!("{host:?} refers to the field {field:?}, which no profile has and `validate` does not derive")
        });
        rest = after;
    }
    trial.check(Rule::Egress, !host.is_empty(), || "an egress rule has no host".to_owned());
    trial.check(Rule::Egress, *default_port > 0, || format!("{host:?} has the port 0"));
    trial.check(Rule::Egress, !purpose.trim().is_empty(), || format!("{host:?} has no purpose"));
    trial.check(Rule::Egress, host != "*" || !suffixes.is_empty(), || {
        "a rule for any host must have suffixes".to_owned()
    });
    for suffix in suffixes {
        // A top-level domain contains the domains of many owners.
        let narrow =
            suffix.strip_prefix('.').is_some_and(|domain| domain.split('.').filter(|it| !it.is_empty()).count() >= 2);
        trial.check(Rule::Egress, narrow, || {
            format!("{host:?} has the suffix {suffix:?}, which is not a domain below a top-level domain")
        });
    }
}

/// The operations of all triggers and actions.
pub(super) fn operations(descriptor: &Descriptor) -> impl Iterator<Item = &Operation> {
    let triggers = descriptor.triggers.iter().map(|trigger| &trigger.operation);
    triggers.chain(descriptor.actions.iter().map(|action| &action.operation))
}
