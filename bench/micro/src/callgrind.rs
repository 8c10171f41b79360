//! Runs this binary under callgrind, once for each case, and reads what it counted.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What a case costs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// Name of the case.
    pub(crate) name: String,
    /// Instructions for one operation.
    pub(crate) instructions: f64,
    /// Allocations for one operation.
    pub(crate) allocations: f64,
}

/// The function whose instructions are counted.
const COUNTED: &str = "*counted_by_callgrind*";

/// Measures one case, with worlds from `folder`.
pub(crate) fn measure(folder: &Path, name: &str) -> Result<Measured, String> {
    let own = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
    let out = folder.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["child".as_ref(), folder.as_os_str(), name.as_ref()])
        .output()
        .map_err(|error| format!("valgrind cannot be run (apt-get install valgrind): {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{name}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    }
    let profile = fs::read_to_string(&out).map_err(|error| format!("{name}: no profile: {error}"))?;
    let mut figures = said.split_whitespace().map(str::parse::<f64>);
    match (figures.next(), figures.next(), total(&profile)) {
        (Some(Ok(operations)), Some(Ok(allocations)), Some(instructions)) if instructions > 0.0 => {
            Ok(Measured {
                name: name.to_owned(),
                instructions: instructions / operations,
                allocations: allocations / operations,
            })
        }
        _ => Err(format!("{name}: nothing was counted; it said {said:?}")),
    }
}

/// `totals: 123`, or `summary: 123` of older versions.
fn total(profile: &str) -> Option<f64> {
    let figure = |name: &str| {
        let line = profile.lines().rev().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    figure("totals:").or_else(|| figure("summary:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_profile_is_read_in_either_form() {
        assert_eq!(total("events: Ir\nsummary: 7\n\nfn=(1)\n+1 7\n\ntotals: 42\n"), Some(42.0));
        assert_eq!(total("events: Ir\nsummary: 7\n"), Some(7.0));
        assert_eq!(total("events: Ir\n"), None);
    }
}
