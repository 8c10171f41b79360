//! What is shown while a run goes on: a screen of its own on a terminal, a line a second elsewhere. All of it on standard
//! error, so that reports on standard output stay clean.

use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use crate::plan::{Plan, SharedPlan};
use crate::quantity::{several, show_count, show_ns, show_rate, show_share};
use crate::run::{Observer, Point};
use crate::tally::Tally;

/// Leaves the screen of its own and shows the cursor again: also what an impatient ^C writes.
pub(crate) const RESTORE: &str = "\x1b[?25h\x1b[?1049l";
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The terminal draws nothing between these two (synchronised output): no flicker where it is known, no harm elsewhere.
const HOLD: &str = "\x1b[?2026h\x1b[H";
const RELEASE: &str = "\x1b[J\x1b[?2026l";
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Points that sparklines are drawn from.
const HISTORY_MAX: usize = 400;

/// Shows a run as it goes on.
pub(crate) struct Screen {
    name: String,
    style: Style,
    plan: Option<SharedPlan>,
    history: Vec<Point>,
    /// Second of the run for which a line was written last.
    line_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A terminal: redrawn at every tick.
    Terminal,
    /// A line a second.
    Lines,
    /// Nothing.
    Quiet,
}

impl Screen {
    /// Shows nothing at all.
    pub(crate) fn quiet(name: &str) -> Self {
        Self::new(name, Style::Quiet)
    }

    /// As fits what standard error is.
    pub(crate) fn fitting(name: &str) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let style = if io::stderr().is_terminal() && !dumb { Style::Terminal } else { Style::Lines };
        if style == Style::Terminal {
            show(ENTER);
        }
        let screen = Self::new(name, style);
        screen.draw("opening connections");
        screen
    }

    fn new(name: &str, style: Style) -> Self {
        Self { name: name.to_owned(), style, plan: None, history: Vec::new(), line_s: 0 }
    }

    /// Draws one screen. Every line is cut to the terminal's width, so that a smaller window never wraps, and the rest of
    /// line and screen is cleared, so that nothing old stays after a change of size.
    fn draw(&self, body: &str) {
        if self.style != Style::Terminal {
            return;
        }
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let columns = size.map_or(80, |size| usize::from(size.ws_col).max(20));
        let rows = size.map_or(24, |size| usize::from(size.ws_row).max(4));
        let mut out = String::from(HOLD);
        let text = format!("ringway-load  {}\n{body}", self.name);
        for line in text.lines().take(rows - 1) {
            out.extend(line.chars().take(columns - 1));
            out.push_str("\x1b[K\r\n");
        }
        out.push_str(RELEASE);
        show(&out);
    }

    fn terminal(&self, point: &Point, total: &Tally) -> String {
        let Some(plan) = &self.plan else { return String::new() };
        let columns =
            rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20));
        let width = columns.saturating_sub(14).clamp(10, 100);
        let now_s = point.at_s + point.seconds;
        let mean = total.answered as f64 / now_s.max(1e-9);
        let failed = total.failed_in_all();
        let share = failed as f64 / total.ended().max(1) as f64;
        let at = |quantile: f64| show_ns(total.corrected.value_at_quantile(quantile));
        let [p50, p90, p99, p999, max] = point.latency_ns.map(show_ns);
        let bar = bar(now_s / (plan.duration_ns as f64 / 1e9), width);
        let rates: Vec<f64> = self.history.iter().map(|p| p.answered as f64 / p.seconds.max(1e-9)).collect();
        let tails: Vec<f64> = self.history.iter().map(|p| p.latency_ns[2] as f64).collect();
        format!(
            "{}\n\n {bar}\n {now_s:.1} s of {:.1} s\n\n\
             \x20 answered  {:>12}/s now  {:>12}/s mean  {:>14} in all\n\
             \x20 failed    {:>14} ({})\n\n\
             \x20           {:>10}{:>10}{:>10}{:>10}{:>10}\n\
             \x20 now       {p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}\n\
             \x20 so far    {:>10}{:>10}{:>10}{:>10}{:>10}\n\n\
             \x20 rate      {}\n\x20 p99       {}\n\n ^C ends the run and prints the report\n",
            describe(plan),
            plan.duration_ns as f64 / 1e9,
            show_rate(point.answered as f64 / point.seconds.max(1e-9)),
            show_rate(mean),
            show_count(total.answered),
            show_count(failed),
            show_share(share),
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            show_ns(total.corrected.max()),
            sparkline(&rates, width),
            sparkline(&tails, width),
        )
    }

    fn line(&mut self, point: &Point, total: &Tally) {
        let now_s = point.at_s + point.seconds;
        if now_s as u64 <= self.line_s {
            return;
        }
        self.line_s = now_s as u64;
        let rate = show_rate(point.answered as f64 / point.seconds.max(1e-9));
        let [p50, _, p99, _, max] = point.latency_ns.map(show_ns);
        let failed = show_count(total.failed_in_all());
        show(&format!(
            "{now_s:>6.0} s  {rate:>10}/s  p50 {p50:>8}  p99 {p99:>8}  max {max:>8}  failed {failed}\n"
        ));
    }
}

impl Observer for Screen {
    fn begins(&mut self, plan: &SharedPlan, _at: SystemTime) {
        self.plan = Some(plan.clone());
        self.history.clear();
        self.line_s = 0;
        if plan.warm_up_ns > 0 {
            self.draw(&format!("{}\n\n warming up for {}\n", describe(plan), show_ns(plan.warm_up_ns)));
        }
    }

    fn tick(&mut self, _tally: &Tally, point: &Point, total: &Tally) -> io::Result<()> {
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(point.clone());
        match self.style {
            Style::Terminal => self.draw(&self.terminal(point, total)),
            Style::Lines => self.line(point, total),
            Style::Quiet => {}
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.style == Style::Terminal {
            show(RESTORE);
        }
    }
}

/// What cannot be shown changes nothing about the run.
fn show(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn describe(plan: &Plan) -> String {
    let kind = if plan.is_open() { "open loop" } else { "closed loop" };
    let (connections, threads) = (several(plan.connections, "connection"), several(plan.threads, "thread"));
    format!("{}, {kind}, {connections}, {threads}", plan.protocol.name())
}

fn bar(share: f64, width: usize) -> String {
    let full = ((share.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    format!("[{}{}]", "█".repeat(full), "░".repeat(width - full))
}

/// The last `width` values as bars from the least to the most of them; from zero where they hardly differ.
fn sparkline(values: &[f64], width: usize) -> String {
    let shown = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    let most = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let place = if most > 0.0 { (value / most * 7.0).round() as usize } else { 0 };
        BARS.get(place).copied().unwrap_or(' ')
    };
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::{bar, sparkline};

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!([bar(0.0, 4), bar(0.5, 4), bar(2.0, 4)], ["[░░░░]", "[██░░]", "[████]"]);
    }

    #[test]
    fn sparklines_show_the_last_values_from_zero() {
        assert_eq!(sparkline(&[9.0, 0.0, 3.5, 7.0], 3), "▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0], 5), "▁▁");
        assert_eq!(sparkline(&[], 5), "");
    }
}
