//! `options`.

use std::path::PathBuf;

use clap::Args;
use connector_host::interface::discovery::ChoicesRequest;

use super::output::Output;
use super::session::{Linked, Session};
use super::{Done, files, usage};

#[derive(Debug, Args)]
pub(crate) struct OptionsArguments {
    /// The source of the values, as the schema of the field states it in `x-options`.
    source: String,
    /// List only the values that match this text.
    #[arg(long)]
    search: Option<String>,
    /// The token of the page to list, as the previous page printed it.
    #[arg(long, value_name = "TOKEN")]
    page: Option<String>,
    /// The largest number of values to list; 0 lets the connector decide.
    #[arg(long, default_value_t = 0)]
    limit: u32,
    /// A file with the other values of the form, as a JSON object (- is standard input).
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
}

/// Lists the values that a person can choose from in a field.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: OptionsArguments) -> Done {
    let request = ChoicesRequest {
        source: arguments.source,
        context: files::read_json(arguments.context.as_deref()).map_err(usage)?,
        search: arguments.search,
        page: arguments.page,
        limit: arguments.limit,
    };
    let Linked { connector, tenant, connection } = session.linked().await?;
    let choices = connector.account(&tenant, &connection).options(&request).await?;
    if output.is_json() {
        return output.json(&choices);
    }
    if choices.items.is_empty() {
        output.line("There is nothing to choose.")?;
    }
    let items = choices.items.into_iter();
    output.table(
        ["Value", "Label", ""],
        items.map(|item| [item.value, item.label, item.hint.unwrap_or_default()]).collect(),
    )?;
    match choices.next {
        Some(next) => output.line(&format!("There are more: add `--page '{next}'`.")),
        None => Ok(()),
    }
}
