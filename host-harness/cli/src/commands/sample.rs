//! `sample`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use super::output::Output;
use super::session::{Linked, Session};
use super::{Done, files, poll, schema, usage};

#[derive(Debug, Args)]
pub(crate) struct SampleArguments {
    /// The trigger.
    trigger: String,
    /// Its configuration, a JSON object (- is standard input).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How many events at the most.
    #[arg(long, default_value_t = 3)]
    limit: u32,
}

/// Prints real events where there is a connection, otherwise the descriptor's example of their data.
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
