//! What a person or a program sees: results on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::OutputFormat;
use super::failure::Failure;
use crate::api::chain;
use crate::config::Colour;

/// Prints in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    format: OutputFormat,
}

impl Terminal {
    /// In this form.
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// Prints a result: one JSON value, or the words that `say` makes of it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, say: impl FnOnce(&T) -> String) {
        let text = match self.format {
            OutputFormat::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
            OutputFormat::Text => say(value),
        };
        write_line(&mut io::stdout().lock(), text.trim_end_matches('\n'));
    }

    /// Prints a line of a command that goes on running.
    pub(crate) fn line(&self, event: &str, value: &serde_json::Value, words: &str) {
        match self.format {
            OutputFormat::Json => {
                let line = serde_json::json!({ "event": event, "value": value });
                write_line(&mut io::stdout().lock(), &line.to_string());
            }
            OutputFormat::Text => write_line(&mut io::stdout().lock(), words),
        }
    }

    /// Whether diagnostics on standard error are coloured.
    pub(crate) fn colour(self) -> Colour {
        if io::stderr().is_terminal() { Colour::Always } else { Colour::Never }
    }

    /// Says something that is not the result.
    pub(crate) fn notice(&self, words: &str) {
        write_line(&mut io::stderr().lock(), words);
    }

    /// Warnings, as rendered; nothing when there are none, or where the JSON result holds them.
    pub(crate) fn warnings(&self, rendered: &str) {
        if self.format == OutputFormat::Text && !rendered.is_empty() {
            write_line(&mut io::stderr().lock(), rendered.trim_end());
        }
    }

    /// Shows what is being waited for until the guard is dropped; only on a terminal.
    pub(crate) fn progress(&self, words: &str) -> Progress {
        let shown = self.format == OutputFormat::Text && io::stderr().is_terminal();
        if shown {
            let mut stderr = io::stderr().lock();
            write!(stderr, "{words} …").and_then(|()| stderr.flush()).ok();
        }
        Progress { shown }
    }

    /// Says why a command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        if let Some(rendered) = failure.rendered() {
            write_line(&mut stderr, rendered.trim_end());
        }
        if self.format == OutputFormat::Json {
            let value = serde_json::json!({
                "error": chain(failure),
                "hint": failure.hint(),
                "diagnostics": failure.diagnostics(),
                "exit": failure.code(),
            });
            // On one line, as the events of a command that goes on running are.
            write_line(&mut io::stdout().lock(), &value.to_string());
            return;
        }
        write_line(&mut stderr, &format!("error: {}", chain(failure)));
        if let Some(hint) = failure.hint() {
            write_line(&mut stderr, &format!("hint: {hint}"));
        }
    }
}

/// A line on the terminal that goes away.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let mut stderr = io::stderr().lock();
            write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush()).ok();
        }
    }
}

/// A reader that went away is not an error: `ringway history | head`.
fn write_line(out: &mut impl Write, text: &str) {
    writeln!(out, "{text}").and_then(|()| out.flush()).ok();
}
