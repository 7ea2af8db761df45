//! `invoke`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use connector_host::interface::action::{Call, Outcome, Partial, Pending};

use super::output::Output;
use super::session::{Linked, Session, seconds};
use super::{Done, Exit, files, usage};

/// The shortest pause before the service is asked again, in milliseconds.
const SHORTEST_PAUSE_MS: u64 = 100;

#[derive(Debug, Args)]
pub(crate) struct InvokeArguments {
    /// The id of the action.
    action: String,
    /// A file with the action's input, as a JSON object (- is standard input) [default: {}].
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Continue at this token, which an earlier call printed, instead of starting the action.
    #[arg(long, value_name = "TOKEN", conflicts_with = "input")]
    resume: Option<String>,
    /// Print what the action would do, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// A text that names the work: use the same text for every attempt at the same work.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    /// The number of this attempt at the work, counted from 1.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    attempt: u32,
    /// Fetch every page, not only the first one. Each page is printed as one JSON document.
    #[arg(long)]
    all_pages: bool,
    /// If the service continues the work after the call, wait until the work has ended.
    #[arg(long)]
    wait: bool,
    /// The longest time to wait, in seconds. The work continues afterwards, and `--resume` asks for it again [default:
    /// what the action itself allows].
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// Invokes an action and prints its output.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: InvokeArguments) -> Done {
    let input = files::read_json(arguments.input.as_deref()).map_err(usage)?;
    let call =
        Call { idempotency_key: arguments.idempotency_key, attempt: arguments.attempt, dry_run: arguments.dry_run };
    let action = arguments.action.as_str();
    let Linked { connector, tenant, connection } = session.linked().await?;
    let mut token = arguments.resume;
    let begun = Instant::now();
    loop {
        let outcome = {
            let _spinner = output.spinner("working");
            match &token {
                Some(token) => connector.account(&tenant, &connection).resume(action, token, &call).await?,
                None => connector.account(&tenant, &connection).invoke(action, &input, &call).await?,
            }
        };
        if output.is_json() {
            output.json(&outcome)?;
        }
        token = match outcome {
            Outcome::Done(text) | Outcome::Planned(text) => {
                return if output.is_json() { Ok(()) } else { output.json_text(&text) };
            }
            Outcome::Page(Partial { output: text, token }) => {
                if !output.is_json() {
                    output.json_text(&text)?;
                }
                if !arguments.all_pages {
                    hint(output, &format!("There is more: add `--all-pages` or `--resume '{token}'`."));
                    return Ok(());
                }
                Some(token)
            }
            Outcome::Pending(Pending { token, after_ms, message }) => {
                hint(output, &format!("Under way: {message}"));
                if !arguments.wait {
                    hint(output, &format!("Ask again with `--resume '{token}'` or add `--wait`."));
                    return Ok(());
                }
                let pause = Duration::from_millis(after_ms.max(SHORTEST_PAUSE_MS));
                if let Some(longest) = arguments.timeout.filter(|longest| begun.elapsed() + pause > *longest) {
                    return Err(Exit::Failed(anyhow!(
                        "the work had not ended after {} s and goes on at the service: ask again with `--resume '{token}'`",
                        longest.as_secs_f64()
                    )));
                }
                tokio::time::sleep(pause).await;
                Some(token)
            }
        };
    }
}

/// Prints a hint for people on standard error, so that it does not mix with the data.
fn hint(output: &Output, text: &str) {
    if !output.is_json() {
        output.warn(text);
    }
}
