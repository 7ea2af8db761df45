//! `describe`, `triggers`, `actions`.

use connector_host::interface::metadata::{Descriptor, Operation};
use serde_json::Value;

use super::Done;
use super::output::{Output, word};
use super::session::Session;

/// Prints the descriptor: all of it as JSON, or the essential parts as text.
pub(crate) async fn describe(session: &Session<'_>, output: &Output) -> Done {
    let connector = session.connector().await?;
    let descriptor = connector.descriptor();
    if output.is_json() {
        return output.json(descriptor);
    }
    output.line(&format!(
        "{} ({} {}, interface {})",
        descriptor.title,
        descriptor.id,
        descriptor.version,
        connector.interface_version()
    ))?;
    output.heading(&descriptor.help)?;
    for profile in &descriptor.auth_profiles {
        output.heading(&format!("Authorization: {} ({})", profile.title, profile.id))?;
        output.line(&profile.help)?;
        output.table(["Field", "Title", "", "Example"], field_rows(&profile.schema))?;
    }
    output.heading("Permissions")?;
    let permissions = descriptor.permissions.iter();
    output.table(
        ["Permission", "Name at the service", "Granted by"],
        permissions.map(|it| [it.id.clone(), it.title.clone(), it.service.clone()]).collect(),
    )?;
    output.heading("Connects to")?;
    let egress = descriptor.egress.iter();
    output.table(
        ["Protocol", "Host", "Port", "Within", "For"],
        egress
            .map(|it| {
                [
                    word(&it.protocol),
                    it.host.clone(),
                    it.default_port.to_string(),
                    it.suffixes.join(" "),
                    it.purpose.clone(),
                ]
            })
            .collect(),
    )?;
    output.heading("Triggers")?;
    trigger_table(descriptor, output)?;
    output.heading("Actions")?;
    action_table(descriptor, output)?;
    if !descriptor.unsupported.is_empty() {
        output.heading(&format!("Not supported: {}", descriptor.unsupported.join(", ")))?;
    }
    Ok(())
}

/// Lists the triggers.
pub(crate) async fn triggers(session: &Session<'_>, output: &Output) -> Done {
    let connector = session.connector().await?;
    if output.is_json() {
        return output.json(&connector.descriptor().triggers);
    }
    trigger_table(connector.descriptor(), output)
}

/// Lists the actions.
pub(crate) async fn actions(session: &Session<'_>, output: &Output) -> Done {
    let connector = session.connector().await?;
    if output.is_json() {
        return output.json(&connector.descriptor().actions);
    }
    action_table(connector.descriptor(), output)
}

fn trigger_table(descriptor: &Descriptor, output: &Output) -> Done {
    let triggers = descriptor.triggers.iter();
    output.table(
        ["Trigger", "Title", "Kind", "Starts", "Needs"],
        triggers
            .map(|trigger| {
                let Operation { id, title, permissions, .. } = &trigger.operation;
                let starts: Vec<_> = trigger.start_modes.iter().map(word).collect();
                [id.clone(), title.clone(), word(&trigger.kind), starts.join(" "), permissions.join(" ")]
            })
            .collect(),
    )
}

fn action_table(descriptor: &Descriptor, output: &Output) -> Done {
    let actions = descriptor.actions.iter();
    output.table(
        ["Action", "Title", "Effect", "Repetition", "Needs"],
        actions
            .map(|action| {
                let Operation { id, title, permissions, .. } = &action.operation;
                [id.clone(), title.clone(), word(&action.effect), word(&action.idempotency), permissions.join(" ")]
            })
            .collect(),
    )
}

/// A row for each property of a schema: name, title, whether it is required or secret, and an example.
fn field_rows(schema: &str) -> Vec<[String; 4]> {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties
        .map(|(name, field)| {
            let mut marks = Vec::new();
            if required.contains(&name.as_str()) {
                marks.push("required");
            }
            if field["writeOnly"] == Value::Bool(true) {
                marks.push("secret");
            }
            let example = match &field["examples"][0] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let title = field["title"].as_str().unwrap_or_default().to_owned();
            [name.clone(), title, marks.join(", "), example]
        })
        .collect()
}
