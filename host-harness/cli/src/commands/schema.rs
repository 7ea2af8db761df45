//! `schema`.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use connector_host::interface::discovery::Direction;
use connector_host::interface::metadata::{Descriptor, Operation};

use super::output::Output;
use super::session::{Linked, Session};
use super::{Done, files, usage};

#[derive(Debug, Args)]
pub(crate) struct SchemaArguments {
    /// The id of the trigger or action.
    operation: String,
    /// Which schema of the operation to print.
    #[arg(long, value_enum, default_value = "input")]
    direction: Side,
    /// A file with the values that are filled in already, as a JSON object (- is standard input). Some schemas depend
    /// on them.
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Side {
    Input,
    Output,
}

/// Prints the account's own schema if the operation has one and a connection was given, otherwise the descriptor's
/// schema.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: SchemaArguments) -> Done {
    let partial = files::read_json(arguments.context.as_deref()).map_err(usage)?;
    let connector = session.connector().await?;
    let operation = operation(connector.descriptor(), &arguments.operation)
        .ok_or_else(|| usage(anyhow!("there is no trigger or action `{}`", arguments.operation)))?;
    let (direction, dynamic, schema) = match arguments.direction {
        Side::Input => (Direction::Input, operation.dynamic_input, &operation.input_schema),
        Side::Output => (Direction::Output, operation.dynamic_output, &operation.output_schema),
    };
    if !dynamic || !session.has_connection() {
        return output.json_text(schema);
    }
    let Linked { connector, tenant, connection } = session.linked().await?;
    let schema =
        connector.account(&tenant, &connection).resolve_schema(&arguments.operation, direction, &partial).await?;
    output.json_text(&schema)
}

/// The operation with this id.
pub(crate) fn operation<'a>(descriptor: &'a Descriptor, id: &str) -> Option<&'a Operation> {
    let triggers = descriptor.triggers.iter().map(|trigger| &trigger.operation);
    let actions = descriptor.actions.iter().map(|action| &action.operation);
    triggers.chain(actions).find(|operation| operation.id == id)
}
