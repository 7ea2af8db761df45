//! The display while the demonstration runs: news above, numbers below. It is written to standard error.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use connector_host_cli::demo::{CommissioningProgress, CoolingProgress, PartitionProgress, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::super::output::{Output, clean};

/// The time between two lines of numbers if there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// The time over which a rate is computed.
const WINDOW: Duration = Duration::from_secs(1);
/// The largest number of machines that one line names.
const MOST_MACHINES: usize = 4;

/// Shows progress: lines that are redrawn on a terminal, otherwise a line from time to time. Nothing with `--json`.
pub(super) struct Live<'o> {
    output: &'o Output,
    screen: Option<Screen>,
    state: Mutex<State>,
}

struct Screen {
    all: MultiProgress,
    bar: ProgressBar,
    /// The lines below the bar. `draw` makes them, because their number is known only then.
    lines: Mutex<Vec<ProgressBar>>,
}

struct State {
    reported: Instant,
    /// The time of each report, and how many messages had been sent by then.
    sent: VecDeque<(Instant, u64)>,
}

impl<'o> Live<'o> {
    pub(super) fn new(output: &'o Output) -> Self {
        let screen = (!output.is_json() && std::io::stderr().is_terminal()).then(|| {
            let all = MultiProgress::new();
            let bar = all.add(ProgressBar::new(1000));
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {msg}") {
                bar.set_style(style);
            }
            Screen { all, bar, lines: Mutex::default() }
        });
        Self { output, screen, state: Mutex::new(State { reported: Instant::now(), sent: VecDeque::new() }) }
    }

    pub(super) fn report(&self, now: Progress) {
        if self.output.is_json() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = state.rate(now.cooling.as_ref().map_or(0, |cooling| cooling.sent));
        let seconds = now.at.as_secs_f64();
        let news = now.news.iter().map(|text| format!("{seconds:5.1} s  {text}"));
        match &self.screen {
            Some(screen) => {
                for text in news {
                    // Printing fails if the terminal is gone; then nobody reads the news.
                    let _ = screen.all.println(clean(&text));
                }
                screen.draw(&now, rate);
            }
            None => {
                news.for_each(|text| self.output.warn(&text));
                if state.reported.elapsed() >= LINE_INTERVAL {
                    state.reported = Instant::now();
                    self.output.warn(&format!("{seconds:5.1} s  {}", one_line(&now, rate)));
                }
            }
        }
    }

    pub(super) fn end(&self) {
        if let Some(screen) = &self.screen {
            screen.bar.finish_and_clear();
            let _ = screen.all.clear();
        }
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    /// How many messages are sent per second.
    fn rate(&mut self, sent: u64) -> f64 {
        let now = Instant::now();
        self.sent.push_back((now, sent));
        while self.sent.len() > 2 && self.sent.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.sent.pop_front();
        }
        let Some((at, before)) = self.sent.front() else { return 0.0 };
        let seconds = (now - *at).as_secs_f64();
        if seconds > 0.0 { (sent - before) as f64 / seconds } else { 0.0 }
    }
}

impl Screen {
    fn draw(&self, now: &Progress, rate: f64) {
        let share = now.at.as_secs_f64() / now.of.as_secs_f64().max(0.001);
        self.bar.set_position((share.min(1.0) * 1000.0) as u64);
        self.bar.set_message(clean(&format!("{:.1} s, {}", now.at.as_secs_f64(), common(now))));
        let mut texts = Vec::new();
        if let Some(cooling) = &now.cooling {
            texts.push(numbers(cooling, rate));
            texts.extend(cooling.partitions.iter().map(partition));
            texts.push(machines("hot", &cooling.hot));
            texts.push(machines("cooling", &cooling.cooling));
        }
        texts.extend(now.commissioning.as_ref().map(commissioning));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.len() < texts.len() {
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            lines.push(self.all.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (line, text) in lines.iter().zip(texts) {
            line.set_message(clean(&text));
        }
    }
}

/// All numbers in one line, for output without a terminal.
fn one_line(now: &Progress, rate: f64) -> String {
    let mut parts = Vec::new();
    if let Some(cooling) = &now.cooling {
        parts.push(numbers(cooling, rate));
        let lags = cooling.partitions.iter().map(|row| row.lag.map_or("-".to_owned(), |lag| lag.to_string()));
        parts.push(format!("lag by partition {}", lags.collect::<Vec<_>>().join("/")));
    }
    parts.extend(now.commissioning.as_ref().map(commissioning));
    parts.push(common(now));
    parts.join(" | ")
}

fn common(now: &Progress) -> String {
    let restarts = now.cooling.as_ref().map_or(0, |it| it.restarts) + now.commissioning.map_or(0, |it| it.restarts);
    format!("actions {}, faults {}, restarts {restarts}", now.actions, now.injected)
}

fn numbers(cooling: &CoolingProgress, rate: f64) -> String {
    let CoolingProgress { sent, hot_readings, answered, parked, cooled, .. } = cooling;
    format!(
        "{sent} messages ({rate:.0}/s) | hot {hot_readings}: answered {answered}, parked {parked} | cooling {}, cooled {cooled}",
        cooling.cooling.len()
    )
}

fn partition(row: &PartitionProgress) -> String {
    let PartitionProgress { id, hot, lag, in_flight, committed, trouble } = row;
    let lag = lag.map_or("-".to_owned(), |lag| lag.to_string());
    let mut text = format!("  partition {id:<3} {hot:>4} hot  lag {lag:>4}  in flight {in_flight:>3}");
    if let Some(committed) = committed {
        text += &format!("  committed through {committed}");
    }
    if let Some(trouble) = trouble {
        text += &format!("  ! {trouble}");
    }
    text.replace('\n', " ")
}

fn machines(what: &str, of: &[(String, f64)]) -> String {
    let named = of.iter().take(MOST_MACHINES).map(|(id, temperature)| format!("{id} {temperature:.1} °C"));
    let mut text = format!("  {what:<8} {}", named.collect::<Vec<_>>().join(", "));
    if of.len() > MOST_MACHINES {
        text += &format!(" and {} more", of.len() - MOST_MACHINES);
    }
    text
}

fn commissioning(progress: &CommissioningProgress) -> String {
    let CommissioningProgress { plant, events, handled, alarms, .. } = progress;
    format!(
        "{} enrolled, {} registered, {} refused, {} left: {events} events, {handled} handled, {alarms} alarms",
        plant.enrolled, plant.registered, plant.refused, plant.left
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_there_is() {
        let mut row = PartitionProgress { id: "3".to_owned(), hot: 5, in_flight: 1, ..PartitionProgress::default() };
        assert!(partition(&row).contains("partition 3") && partition(&row).contains("lag    -"), "{}", partition(&row));
        (row.lag, row.committed, row.trouble) = (Some(12), Some(40), Some("cut\noff".to_owned()));
        assert!(partition(&row).ends_with("committed through 40  ! cut off"), "{}", partition(&row));
        let many: Vec<_> = (0..6).map(|number| (format!("m-{number}"), 81.0)).collect();
        assert!(machines("hot", &many).ends_with("and 2 more"));
        let cooling = CoolingProgress { partitions: vec![row, PartitionProgress::default()], ..Default::default() };
        let now = Progress { cooling: Some(cooling), ..Progress::default() };
        assert!(one_line(&now, 3.0).contains("lag by partition 12/-"), "{}", one_line(&now, 3.0));
    }
}
