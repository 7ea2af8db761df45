//! `sample`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::output::Output;
use super::session::{Linked, Session};
use super::{Done, files, poll, schema, usage};

#[derive(Debug, Args)]
pub(crate) struct SampleArguments {
    /// The id of the trigger.
    trigger: String,
    /// A file with the trigger's configuration, as a JSON object (- is standard input).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The largest number of events to print.
    #[arg(long, default_value_t = 3)]
    limit: u32,
}

/// Prints real events if a connection was given, otherwise the descriptor's example of the events' data.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: SampleArguments) -> Done {
    let config = files::read_json(arguments.config.as_deref()).map_err(usage)?;
    if !session.has_connection() {
        let connector = session.connector().await?;
        let operation = schema::operation(connector.descriptor(), &arguments.trigger)
            .ok_or_else(|| usage(anyhow!("there is no trigger `{}`", arguments.trigger)))?;
        return output.json_text(&operation.output_sample);
    }
    let Linked { connector, tenant, connection } = session.linked().await?;
    let events = connector.account(&tenant, &connection).sample(&arguments.trigger, &config, arguments.limit).await?;
    events.iter().try_for_each(|event| poll::print_event(output, event))
}
