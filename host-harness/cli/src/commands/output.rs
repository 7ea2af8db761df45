//! The output of the program, for people or for machines.

use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use connector_host::interface::types;
use connector_host::interface::types::{EffectState, FieldProblem, Retry, Severity};
use connector_host::{CallError, EgressDenied, Failure, LimitExceeded};
use connector_rules::text::is_visible;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;

use super::{Done, Exit};

/// The time between two lines about a component that is being compiled.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// Writes to standard output, as text for people or as JSON for machines.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the output is JSON for machines.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one JSON document: indented for people, on one line for machines.
    pub(crate) fn json(&self, value: &impl Serialize) -> Done {
        let text = if self.json { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
        self.raw(&visible_json(&text.map_err(|error| Exit::Failed(error.into()))?))
    }

    /// Prints one JSON text that came from the connector.
    pub(crate) fn json_text(&self, text: &str) -> Done {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(value) => self.json(&value),
            Err(_) => self.line(text),
        }
    }

    /// Prints a line for people.
    pub(crate) fn line(&self, text: &str) -> Done {
        self.raw(&clean(text))
    }

    /// Prints a heading, with an empty line before it.
    pub(crate) fn heading(&self, text: &str) -> Done {
        self.raw(&format!("\n{}", clean(text)))
    }

    /// Prints a table; nothing if it has no rows.
    pub(crate) fn table<const N: usize>(&self, header: [&str; N], rows: Vec<[String; N]>) -> Done {
        if rows.is_empty() {
            return Ok(());
        }
        self.raw(&table(&header, rows).to_string())
    }

    fn raw(&self, text: &str) -> Done {
        match writeln!(io::stdout().lock(), "{text}") {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Exit::OutputClosed),
            Err(error) => Err(Exit::Failed(error.into())),
        }
    }

    /// On a terminal, shows that work is going on until the returned value is dropped.
    pub(crate) fn spinner(&self, message: &'static str) -> Spinner {
        if !io::stderr().is_terminal() {
            return Spinner(None);
        }
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        Spinner(Some(bar))
    }

    /// Says on standard error that the component is compiled while `loading` loads it, how long that has taken, and that
    /// it is done. A pipe gets plain lines, so that a log shows them, too.
    pub(crate) async fn compiling<T, E>(&self, loading: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let started = Instant::now();
        self.warn("compiling the component, once for each version of it ...");
        let spinner = self.spinner("compiling the component");
        let mut ticks = tokio::time::interval_at((started + BETWEEN_LINES).into(), BETWEEN_LINES);
        let mut loading = pin!(loading);
        let loaded = loop {
            tokio::select! {
                biased;
                loaded = &mut loading => break loaded,
                _ = ticks.tick() => {
                    let message = format!("compiling the component: {} s so far", started.elapsed().as_secs());
                    match &spinner.0 {
                        Some(bar) => bar.set_message(message),
                        None => self.warn(&message),
                    }
                }
            }
        };
        drop(spinner);
        if loaded.is_ok() {
            self.warn(&format!("the component is compiled and loaded: {:.1} s", started.elapsed().as_secs_f64()));
        }
        loaded
    }

    /// Prints why a command failed: as JSON to standard output, or as text to standard error.
    pub(crate) fn error(&self, exit: &Exit) {
        let document = match exit {
            Exit::Said | Exit::OutputClosed => return,
            Exit::Call(CallError::Connector(failure)) if self.json => json!({
                "error": failure.error,
                "denials": failure.denials,
                "limits": failure.limits,
            }),
            Exit::Call(error) if self.json => {
                let mut details = json!(error);
                details["message"] = json!(error.to_string());
                json!({ "error": details })
            }
            Exit::Usage(error) | Exit::Failed(error) if self.json => {
                let kind = if matches!(exit, Exit::Usage(_)) { "usage" } else { "failed" };
                json!({ "error": { "kind": kind, "message": format!("{error:#}") } })
            }
            Exit::Call(CallError::Connector(failure)) => return print_failure(failure),
            Exit::Call(error) => {
                eprintln!("error: {}", clean(&error.to_string()));
                if let CallError::Trap { refusals, .. } = error {
                    print_refusals(&refusals.limits, &refusals.denials);
                }
                return;
            }
            Exit::Usage(error) | Exit::Failed(error) => {
                return eprintln!("error: {}", clean(&format!("{error:#}")));
            }
        };
        // If standard output is closed, nobody is left to notify.
        let _ = self.raw(&visible_json(&document.to_string()));
    }

    /// Prints a line for people on standard error.
    pub(crate) fn warn(&self, text: &str) {
        eprintln!("{}", clean(text));
    }
}

/// See [`Output::spinner`].
pub(crate) struct Spinner(Option<ProgressBar>);

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// A value of the interface, such as an error code, as JSON writes it.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Escapes invisible characters: a text of a connector or a service must not control the terminal or reverse a line.
pub(crate) fn clean(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'), |clean, c| clean.extend(c.escape_default()))
}

/// Writes the invisible characters of a JSON document as JSON escapes. The document stays the same, and is safe to
/// print on a terminal.
fn visible_json(text: &str) -> String {
    escaped(
        text,
        |c| c == '\n',
        |clean, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                clean.push_str(&format!("\\u{unit:04x}"));
            }
        },
    )
}

fn escaped(text: &str, stays: fn(char) -> bool, escape: fn(&mut String, char)) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) || stays(c) { clean.push(c) } else { escape(&mut clean, c) }
    }
    clean
}

/// Rows for [`FIELD_HEADER`].
pub(crate) fn field_rows(problems: &[FieldProblem]) -> Vec<[String; 4]> {
    problems
        .iter()
        .map(|problem| {
            let severity = match problem.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            [
                severity.to_owned(),
                problem.pointer.clone(),
                problem.message.clone(),
                problem.fix.clone().unwrap_or_default(),
            ]
        })
        .collect()
}

/// The columns of [`field_rows`].
pub(crate) const FIELD_HEADER: [&str; 4] = ["", "Field", "Problem", "What to do"];

/// Makes a table. Columns without any content are left out.
fn table<const N: usize>(header: &[&str; N], rows: Vec<[String; N]>) -> Table {
    let filled: Vec<usize> = (0..N).filter(|&column| rows.iter().any(|row| !row[column].is_empty())).collect();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if !io::stdout().is_terminal() {
        table.set_width(NO_TERMINAL_WIDTH);
    }
    table.set_header(filled.iter().map(|&column| header[column]));
    for row in rows {
        table.add_row(filled.iter().map(|&column| clean(&row[column])));
    }
    table
}

/// The width of tables in a file or a pipe, in characters.
const NO_TERMINAL_WIDTH: u16 = 160;

fn print_failure(failure: &Failure) {
    let types::Error { code, message, detail, fields, item, retry, effect, service, missing_permission } =
        &failure.error;
    eprintln!("error: {} ({})", clean(message), word(code));
    if let Some(item) = item {
        eprintln!("  item:       {item}");
    }
    if !fields.is_empty() {
        eprintln!("{}", table(&FIELD_HEADER, field_rows(fields)));
    }
    if let Some(missing) = missing_permission {
        eprintln!("  permission: {}", clean(&missing.permission));
        eprintln!("  remedy:     {}", clean(&missing.remedy));
    }
    if let Some(service) = service {
        let mut said = Vec::new();
        if let Some(status) = service.status {
            said.push(format!("HTTP {status}"));
        }
        if let Some(code) = &service.code {
            said.push(format!("code {code}"));
        }
        if let Some(id) = &service.tracking_id {
            said.push(format!("tracking id {id}"));
        }
        eprintln!("  service:    {}", clean(&said.join(", ")));
    }
    let retry = match retry {
        Retry::Never => "the same call fails again".to_owned(),
        Retry::After(ms) => format!("after {ms} ms"),
        Retry::Backoff => "with growing pauses".to_owned(),
        Retry::AfterReauthentication => "after the account is linked again".to_owned(),
        Retry::AfterReconfiguration => "after the configuration is changed".to_owned(),
    };
    eprintln!("  retry:      {retry}");
    let effect = match effect {
        EffectState::None => "nothing was changed",
        EffectState::Unknown => "it is not known whether the change was made",
        EffectState::Applied => "the change was made",
    };
    eprintln!("  effect:     {effect}");
    if let Some(detail) = detail {
        eprintln!("  detail:     {}", clean(detail));
    }
    print_refusals(&failure.limits, &failure.denials);
}

fn print_refusals(limits: &[LimitExceeded], denials: &[EgressDenied]) {
    for limit in limits {
        eprintln!("  limit:      {limit}");
    }
    for denial in denials {
        eprintln!("  denied:     {}", clean(&denial.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::{clean, visible_json, word};
    use connector_host::interface::types::ErrorCode;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\nc");
        assert_eq!(clean("d\u{202e}1\u{9b}2J\u{200b}é"), "d\\u{202e}1\\u{9b}2J\\u{200b}é");
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "é\u{202e}": "\u{9b}2J\u{7f}\u{e0041}\u{1f600}\n" });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).expect("JSON")] {
            let shown = visible_json(&text);
            assert!(shown.chars().all(|c| c == '\n' || connector_rules::text::is_visible(c)), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
        }
    }

    #[test]
    fn words_are_those_of_the_interface() {
        assert_eq!(word(&ErrorCode::NotFound), "not-found");
    }
}
