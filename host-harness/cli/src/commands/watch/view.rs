//! What a person sees while a trigger is watched: events above, a line for each partition below.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use connector_host::CallError;
use connector_host::interface::trigger::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::output::{Output, clean};

/// The time between two drawings of the lines.
pub(super) const REFRESH: Duration = Duration::from_millis(500);

/// The number of refreshes between two prints of the state, if there is no terminal.
const TOLD_EVERY: u64 = 20;

/// The number of refreshes over which a rate is computed.
const WINDOW: usize = 20;

/// The largest number of partitions with a line of their own. The others count only in the sum.
const LINES: usize = 16;

/// The state of all partitions.
pub(super) struct View<'a> {
    output: &'a Output,
    rows: Vec<Row>,
    /// The lines that are redrawn in place; `None` if there is no terminal.
    lines: Option<(MultiProgress, Vec<ProgressBar>)>,
    begun: Instant,
    refreshes: u64,
}

struct Row {
    partition: String,
    events: u64,
    /// The number of events in each of the last intervals between refreshes; the current interval is last.
    recent: VecDeque<u64>,
    lag: Option<u64>,
    /// The id of the last event that was committed.
    position: Option<String>,
    failures: u64,
    /// The last error; `None` if a page came after it.
    trouble: Option<String>,
}

impl<'a> View<'a> {
    pub(super) fn new(output: &'a Output, partitions: &[String]) -> Self {
        let rows: Vec<Row> = partitions.iter().map(|partition| Row::new(partition.clone())).collect();
        let lines = std::io::stderr().is_terminal().then(|| {
            let lines = MultiProgress::new();
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bars = (0..=rows.len().min(LINES))
                .map(|_| lines.add(ProgressBar::new_spinner().with_style(style.clone())))
                .collect();
            (lines, bars)
        });
        Self { output, rows, lines, begun: Instant::now(), refreshes: 0 }
    }

    /// Writes something without disturbing the lines.
    pub(super) fn aside<T>(&self, write: impl FnOnce(&Output) -> T) -> T {
        match &self.lines {
            Some((lines, _)) => lines.suspend(|| write(self.output)),
            None => write(self.output),
        }
    }

    pub(super) fn polled(&mut self, partition: usize, lag: Option<u64>) {
        let row = &mut self.rows[partition];
        row.lag = lag;
        row.trouble = None;
    }

    pub(super) fn fired(&mut self, partition: usize, event: &Event) {
        let row = &mut self.rows[partition];
        row.events += 1;
        if let Some(current) = row.recent.back_mut() {
            *current += 1;
        }
        row.position = Some(event.id.clone());
    }

    pub(super) fn failed(&mut self, partition: usize, error: &CallError, pause: Option<Duration>) {
        let row = &mut self.rows[partition];
        row.failures += 1;
        row.trouble = Some(error.to_string());
        // An error without a pause is printed later, by `given_up` or at the end of the program.
        if let Some(pause) = pause {
            let text = format!("partition {}: {}", row.partition, trying_again(error, pause));
            self.aside(|output| output.warn(&text));
        }
    }

    /// Reports that a partition is not read any more, while the others continue.
    pub(super) fn given_up(&self, partition: usize) {
        let row = &self.rows[partition];
        let trouble = row.trouble.as_deref().unwrap_or_default();
        let text = format!(
            "partition {}: {trouble}; this partition is given up until the next run, and the others go on",
            row.partition
        );
        self.aside(|output| output.warn(&text));
    }

    pub(super) fn refresh(&mut self) {
        if let Some((_, bars)) = &self.lines {
            let texts = self.rows.iter().take(LINES).map(Row::text);
            for (bar, text) in bars.iter().zip(std::iter::once(self.sum()).chain(texts)) {
                bar.set_message(clean(&text).replace('\n', " "));
            }
        } else {
            self.refreshes += 1;
            if self.refreshes.is_multiple_of(TOLD_EVERY) {
                self.report();
            }
        }
        for row in &mut self.rows {
            row.recent.push_back(0);
            if row.recent.len() > WINDOW {
                row.recent.pop_front();
            }
        }
    }

    /// Removes the lines and prints the final numbers.
    pub(super) fn finish(self) {
        if let Some((lines, _)) = &self.lines {
            // Clearing fails if the terminal is gone; then there is nothing to clear.
            let _ = lines.clear();
        }
        self.report();
    }

    /// Prints the sum, and each partition that had an event or a failure.
    fn report(&self) {
        self.output.warn(&self.sum());
        if self.rows.len() > 1 {
            self.rows
                .iter()
                .filter(|row| row.events > 0 || row.failures > 0)
                .for_each(|row| self.output.warn(&row.text()));
        }
    }

    fn sum(&self) -> String {
        let events: u64 = self.rows.iter().map(|row| row.events).sum();
        let failures: u64 = self.rows.iter().map(|row| row.failures).sum();
        let seconds = self.begun.elapsed().as_secs_f64();
        let lag = self.rows.iter().try_fold(0_u64, |sum, row| row.lag.map(|lag| sum.saturating_add(lag)));
        let lag = lag.map(|lag| format!(", {lag} waiting")).unwrap_or_default();
        format!("{events} events in {seconds:.1} s ({:.1}/s){lag}, {failures} failures", rate(events, seconds))
    }
}

impl Row {
    fn new(partition: String) -> Self {
        Self {
            partition: if partition.is_empty() { "all".to_owned() } else { partition },
            events: 0,
            recent: VecDeque::from([0]),
            lag: None,
            position: None,
            failures: 0,
            trouble: None,
        }
    }

    fn text(&self) -> String {
        let recent: u64 = self.recent.iter().sum();
        let rate = rate(recent, REFRESH.as_secs_f64() * self.recent.len() as f64);
        let mut text = format!("  partition {:<4} {:>8} events {rate:>8.1}/s", self.partition, self.events);
        if let Some(lag) = self.lag {
            text += &format!(" {lag:>8} waiting");
        }
        if let Some(position) = &self.position {
            text += &format!("  at {position}");
        }
        match (&self.trouble, self.failures) {
            (Some(trouble), _) => text += &format!("  ! {trouble}"),
            (None, 0) => {}
            (None, failures) => text += &format!("  ({failures} failures)"),
        }
        text
    }
}

fn rate(events: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { events as f64 / seconds } else { 0.0 }
}

/// The message about a failure after which the call is tried again.
pub(super) fn trying_again(error: &CallError, pause: Duration) -> String {
    format!("{error}; trying again in {} ms", pause.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_there_is() {
        let mut row = Row::new("3".to_owned());
        assert!(row.text().contains("partition 3") && !row.text().contains("waiting"));
        (row.events, row.recent, row.lag) = (12, VecDeque::from([2, 3]), Some(7));
        assert!(row.text().contains("5.0/s") && row.text().contains("7 waiting"), "{}", row.text());
        row.trouble = Some("out of order".to_owned());
        assert!(row.text().ends_with("! out of order"));
    }
}
