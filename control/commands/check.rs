//! `ringway check`: everything that can be known of a configuration without a daemon.

use std::collections::BTreeMap;

use ringway_snapshot::builder::{self, BuildOptions};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::model::Model;
use serde_json::json;

use super::change::count;
use super::failure::{EXIT_FAILED, Failure};
use super::terminal::Terminal;
use super::{CheckArgs, documents};
use crate::api::now_unix_ms;
use crate::compile::TestCase;
use crate::config::{Compiled, Diagnostics, compile, render_json, render_text};
use crate::outside::Outside;
use crate::trial::{Trial, TrialRequest, Trials};

/// `ringway check`.
pub(super) fn run(args: &CheckArgs, terminal: Terminal) -> Result<u8, Failure> {
    let documents = documents::read(&args.file)?;
    let outside = Outside::ephemeral().map_err(|error| failed("cannot make keys to check with", error))?;
    let now = now_unix_ms();
    let compiled = outside.with(now, |environment| compile(documents.clone(), environment));
    let compiled = compiled.map_err(|error| failed("cannot make keys to check with", error))?;
    let Compiled { model, tests, warnings, .. } =
        compiled.map_err(|diagnostics| invalid(&diagnostics, terminal))?;
    let failures = try_all(&model, &tests, &outside, now)?;
    let routes: usize = model.hosts.iter().map(|host| host.routes.len()).sum();
    terminal.warnings(&render_text(&warnings, terminal.colour()));
    let result = json!({
        "ok": failures.is_empty(),
        "hosts": model.hosts.len(),
        "routes": routes,
        "tests": tests.len(),
        "failed": failures,
        "warnings": render_json(&warnings),
    });
    terminal.result(&result, |_| {
        let mut lines: Vec<String> = failures.iter().map(describe).collect();
        lines.push(format!(
            "{}, {}, {} of {} tests pass",
            count(model.hosts.len() as u64, "host"),
            count(routes as u64, "route"),
            tests.len() - failures.len(),
            tests.len()
        ));
        lines.join("\n")
    });
    Ok(if failures.is_empty() { 0 } else { EXIT_FAILED })
}

/// A test that did not come out as expected.
#[derive(Debug, serde::Serialize)]
struct TestFailure {
    request: String,
    /// What was expected and what came, by key of `expect`.
    differs: BTreeMap<&'static str, [Option<String>; 2]>,
    trial: Trial,
}

fn try_all(
    model: &Model,
    tests: &[TestCase],
    outside: &Outside,
    now_unix_ms: u64,
) -> Result<Vec<TestFailure>, Failure> {
    let keys = outside.keys();
    let options = BuildOptions { generation: 1, parent_hash: ContentHash::default(), signing: &keys.signing };
    let bytes =
        builder::build(model, &options).map_err(|error| failed("the snapshot cannot be built", error))?;
    let pepper = keys.pepper().map_err(|error| failed("cannot make keys to check with", error))?;
    let trials = Trials::open(&bytes, &keys.trust, &[pepper])
        .map_err(|error| failed("a gateway would not take the snapshot", error))?;
    let mut failures = Vec::new();
    for test in tests {
        let request = TrialRequest {
            method: test.method.clone(),
            authority: test.authority.clone(),
            target: test.target.clone(),
            fields: test.fields.clone(),
            from: test.from,
            application: test.application,
        };
        let trial =
            trials.run(&request, now_unix_ms).map_err(|error| failed("a test cannot be tried", error))?;
        let differs = differences(test, &trial);
        if !differs.is_empty() {
            failures.push(TestFailure { request: test.request_line(), differs, trial });
        }
    }
    Ok(failures)
}

fn differences(test: &TestCase, trial: &Trial) -> BTreeMap<&'static str, [Option<String>; 2]> {
    let expected = [
        ("status", test.expect_status.map(|status| status.to_string()), trial.status.map(|s| s.to_string())),
        ("route", test.expect_route.clone(), trial.route.clone()),
        ("upstream", test.expect_upstream.clone(), trial.upstream.clone()),
    ];
    let differs = expected.into_iter().filter(|(_, expected, came)| expected.is_some() && expected != came);
    differs.map(|(key, expected, came)| (key, [expected, came])).collect()
}

fn describe(failure: &TestFailure) -> String {
    let mut text = format!("test failed: {}", failure.request);
    for (key, [expected, came]) in &failure.differs {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        text.push_str(&format!("\n  {key}: expected {}, came {}", shown(expected), shown(came)));
    }
    for stage in &failure.trial.stages {
        text.push_str(&format!("\n  {stage}"));
    }
    text
}

fn invalid(diagnostics: &Diagnostics, terminal: Terminal) -> Failure {
    Failure::Invalid {
        rendered: render_text(diagnostics, terminal.colour()),
        diagnostics: render_json(diagnostics),
    }
}

fn failed(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Daemon { what: what.to_owned(), source: Box::new(source), hint: None }
}
