//! `validate`.

use serde_json::json;

use super::output::{FIELD_HEADER, Output, field_rows};
use super::session::{Linked, Session};
use super::{Done, Exit};

/// Checks the values of the connection. Fails if the connection cannot be used.
pub(crate) async fn run(session: &Session<'_>, output: &Output) -> Done {
    let Linked { connector, tenant, connection } = session.linked().await?;
    let validation = connector.account(&tenant, &connection).validate().await?;
    let usable = validation.is_usable();
    let label = if usable { Some(connector.account(&tenant, &connection).label().await?) } else { None };
    if output.is_json() {
        let mut document = json!(validation);
        document["usable"] = json!(usable);
        document["label"] = json!(label);
        output.json(&document)?;
    } else {
        match &label {
            Some(label) => output.line(&format!("{label}: the connection can be used."))?,
            None => output.line("The connection cannot be used.")?,
        }
        output.table(FIELD_HEADER, field_rows(&validation.problems))?;
        output.heading("Values as the connector understands them")?;
        output.json_text(&validation.normalized)?;
    }
    if usable { Ok(()) } else { Err(Exit::Said) }
}
