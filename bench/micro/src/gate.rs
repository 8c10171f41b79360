//! The baseline, and what is worse than it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::callgrind::Measured;

/// Instructions beyond this ratio to the baseline fail.
const RATIO_MAX: f64 = 1.05;
/// Below it the baseline has fallen behind: whoever made it better should bless it, so that it stays so.
const RATIO_BLESS: f64 = 0.95;
/// Allocations are whole for each operation, or amortised; less than this is rounding.
const ALLOCATIONS_SLACK: f64 = 0.01;

/// Instructions and allocations of a case.
type Figures = (f64, f64);

/// Compares; the table, as an error where something is worse or has no baseline.
pub(crate) fn compare(path: &Path, measured: &[Measured]) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let baseline = read(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let (table, worse) = table(&baseline, measured);
    if worse.is_empty() {
        return Ok(table);
    }
    Err(format!(
        "{table}\n{}\n\nWhere it is meant: cargo bench-micro --bless, and say in the commit why.",
        worse.join("\n")
    ))
}

/// Writes a new baseline; the table beside the old one.
pub(crate) fn bless(path: &Path, measured: &[Measured]) -> Result<String, String> {
    let old = fs::read_to_string(path).ok().and_then(|text| read(&text).ok()).unwrap_or_default();
    let (table, _) = table(&old, measured);
    fs::write(path, printed(measured)).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(table)
}

/// One case a line, so that a change is one line in a diff.
fn printed(measured: &[Measured]) -> String {
    let lines: Vec<String> = measured
        .iter()
        .map(|case| {
            let figures = json!({
                "instructions": (case.instructions * 10.0).round() / 10.0,
                "allocations": (case.allocations * 100.0).round() / 100.0,
            });
            format!("  {}: {figures}", json!(case.name))
        })
        .collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn read(text: &str) -> Result<BTreeMap<String, Figures>, serde_json::Error> {
    let cases: BTreeMap<String, Value> = serde_json::from_str(text)?;
    let figure = |case: &Value, name: &str| case.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let cases = cases.into_iter();
    Ok(cases
        .map(|(name, case)| (name, (figure(&case, "instructions"), figure(&case, "allocations"))))
        .collect())
}

/// The table, and a sentence for each case that fails.
fn table(baseline: &BTreeMap<String, Figures>, measured: &[Measured]) -> (String, Vec<String>) {
    let mut table = format!(
        "{:34} {:>14} {:>14} {:>7} {:>12}\n",
        "case", "instructions", "baseline", "ratio", "allocations"
    );
    let mut worse = Vec::new();
    for Measured { name, instructions, allocations } in measured {
        let Some((instructions_then, allocations_then)) = baseline.get(name) else {
            let _ =
                writeln!(table, "{name:34} {instructions:>14.1} {:>14} {:>7} {allocations:>12.2}", "-", "-");
            worse.push(format!("{name} has no baseline"));
            continue;
        };
        let ratio = instructions / instructions_then.max(1.0);
        let mark = if ratio < RATIO_BLESS { "  better: bless it" } else { "" };
        let _ = writeln!(
            table,
            "{name:34} {instructions:>14.1} {instructions_then:>14.1} {ratio:>7.3} {allocations:>12.2}{mark}"
        );
        if ratio > RATIO_MAX {
            worse.push(format!("{name} takes {ratio:.3} times the instructions of its baseline"));
        }
        if *allocations > allocations_then + ALLOCATIONS_SLACK {
            worse.push(format!(
                "{name} allocates {allocations:.2} times, {allocations_then:.2} in its baseline"
            ));
        }
    }
    (table, worse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, instructions: f64, allocations: f64) -> Measured {
        Measured { name: name.to_owned(), instructions, allocations }
    }

    #[test]
    fn a_baseline_is_read_as_it_was_printed() {
        let printed = printed(&[case("a", 100.04, 2.0), case("b", 7.0, 0.0)]);
        assert_eq!(printed.lines().count(), 4);
        let read = read(&printed).unwrap_or_default();
        assert_eq!(read.get("a"), Some(&(100.0, 2.0)));
        assert_eq!(read.get("b"), Some(&(7.0, 0.0)));
    }

    #[test]
    fn more_instructions_or_one_allocation_more_fails_and_less_does_not() {
        let baseline = BTreeMap::from([("a".to_owned(), (100.0, 2.0))]);
        let worse = |measured| table(&baseline, &[measured]).1;
        assert!(worse(case("a", 104.0, 2.0)).is_empty());
        assert!(worse(case("a", 50.0, 0.0)).is_empty());
        assert_eq!(worse(case("a", 106.0, 2.0)).len(), 1);
        assert_eq!(worse(case("a", 100.0, 3.0)).len(), 1);
        assert_eq!(worse(case("new", 1.0, 0.0)), ["new has no baseline"]);
    }
}
