//! `ringway explain`: a request on a generation, or a key of the configuration.

use serde_json::Value;

use super::ExplainArgs;
use super::client::Client;
use super::failure::Failure;
use super::terminal::Terminal;
use crate::api::views::{ExplainRequest, ExplanationView};
use crate::config;
use crate::config::scalar::duration_text;

/// `ringway explain`.
pub(super) fn run(args: &ExplainArgs, terminal: Terminal) -> Result<u8, Failure> {
    match args.request.as_slice() {
        [word, path] if word == "config" => return key(path, terminal),
        [word] if word == "config" => return key("", terminal),
        _ => {}
    }
    let request = ExplainRequest {
        request: args.request.join(" "),
        headers: args.headers.iter().map(|field| split(field)).collect::<Result<_, _>>()?,
        peer: Some(args.peer),
        generation: args.generation,
    };
    let client = Client::connect(&args.connect)?;
    let explained: ExplanationView = client.post("/v1/explanations", &request, None)?;
    terminal.result(&explained, describe);
    Ok(0)
}

fn key(path: &str, terminal: Terminal) -> Result<u8, Failure> {
    let text = config::explain(path).map_err(Failure::Usage)?;
    terminal.result(&serde_json::json!({ "key": path, "text": text }), |_| text.clone());
    Ok(0)
}

fn split(field: &str) -> Result<(String, String), Failure> {
    let split = field.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    split.ok_or_else(|| Failure::Usage(format!("-H takes 'Name: value', not '{field}'")))
}

fn describe(explained: &ExplanationView) -> String {
    let trial = &explained.trial;
    let text = |key: &str| trial.get(key).and_then(Value::as_str);
    let list = |key: &str| trial.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut lines =
        vec![format!("{} in generation {}", text("request").unwrap_or_default(), explained.generation)];
    lines.push(match text("host") {
        Some(host) => format!("host: {host}"),
        None => "host: none has this name".to_owned(),
    });
    for candidate in list("candidates") {
        let part = |key: &str| candidate.get(key).and_then(Value::as_str).unwrap_or_default();
        let mark = if text("route") == Some(part("route")) { '*' } else { ' ' };
        lines.push(format!("{mark} route {}: {}", part("route"), part("reason")));
    }
    if let Some(others) = trial.get("other_routes").and_then(Value::as_u64).filter(|others| *others > 0) {
        lines.push(format!("  and {others} more routes that do not fit"));
    }
    lines.extend(list("stages").filter_map(Value::as_str).map(str::to_owned));
    let status = trial.get("status").and_then(Value::as_u64).map(|status| format!("status {status}"));
    let outcome = text("outcome").map(|outcome| format!("outcome {outcome}"));
    let ends: Vec<String> =
        status.into_iter().chain(outcome).chain(text("action").map(str::to_owned)).collect();
    if !ends.is_empty() {
        lines.push(ends.join(", "));
    }
    lines.extend(timeouts(list("timeouts")));
    for pair in list("forwarded") {
        let part = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("  > {}: {}", part(0), part(1)));
    }
    lines.join("\n")
}

/// One line with each timeout that holds, and whose it is.
fn timeouts<'v>(list: impl Iterator<Item = &'v Value>) -> Option<String> {
    let one = |timeout: &Value| {
        let name = timeout.get("name")?.as_str()?;
        let written = duration_text(timeout.get("ms")?.as_u64()?);
        let whose = if timeout.get("of_route")?.as_bool()? { " (of the route)" } else { "" };
        Some(format!("{name} {written}{whose}"))
    };
    let words: Vec<String> = list.filter_map(one).collect();
    (!words.is_empty()).then(|| format!("timeouts: {}", words.join(", ")))
}
