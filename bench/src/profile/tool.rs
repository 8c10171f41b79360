//! The toolchain that a profile belongs to, and LLVM's tool that adds up what processes counted.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::install::on_path;
use crate::peer::{finish, write};
use crate::process::Launch;

/// Bytes of a profile that are left in the repository.
const BYTES_MAX: u64 = 960 << 10;

/// A toolchain, and the tool of the same LLVM.
#[derive(Debug)]
pub(super) struct Toolchain {
    /// As rustup calls it: `1.95.0-x86_64-unknown-linux-gnu`.
    pub(super) name: String,
    profdata: PathBuf,
}

impl Toolchain {
    /// The one that builds here; what to install where the tool is missing.
    pub(super) fn find() -> Result<Self, String> {
        let name = env::var("RUSTUP_TOOLCHAIN").map_err(|_| {
            "RUSTUP_TOOLCHAIN is not set: a profile is named by rustup's toolchain, so run this by rustup's cargo"
        })?;
        let about = finish(&Launch::new("rustc", &["-vV"]))?;
        let root = finish(&Launch::new("rustc", &["--print", "sysroot"]))?;
        let line = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
        let (Some(host), Some(major)) =
            (line("host: "), line("LLVM version: ").and_then(|version| version.split('.').next()))
        else {
            return Err(format!("rustc -vV names no host and no LLVM version:\n{about}"));
        };
        let places = [
            Some(Path::new(root.trim()).join(format!("lib/rustlib/{host}/bin/llvm-profdata"))),
            on_path(&format!("llvm-profdata-{major}")),
            Some(PathBuf::from(format!("/usr/lib/llvm-{major}/bin/llvm-profdata"))),
            on_path("llvm-profdata"),
        ];
        // Another major may read the counts wrongly, or not at all.
        let fits = |path: &PathBuf| {
            let said = finish(&Launch::new(path, &["--version"])).unwrap_or_default();
            said.contains(&format!("LLVM version {major}."))
        };
        let profdata = places.into_iter().flatten().find(fits).ok_or_else(|| {
            format!(
                "there is no llvm-profdata of LLVM {major}, which this rustc is built on: \
                 `rustup component add llvm-tools`, or `apt-get install --no-install-recommends llvm-{major}`"
            )
        })?;
        Ok(Self { name, profdata })
    }

    /// Adds up files into one. What never ran is left out.
    pub(super) fn merge(&self, files: &[PathBuf], into: &Path) -> Result<(), String> {
        self.run(&["merge", "--sparse"], files, into)
    }

    /// The same without what ran least, until it is small enough to be checked in.
    pub(super) fn merge_small(&self, files: &[PathBuf], into: &Path, text: &Path) -> Result<(), String> {
        self.run(&["merge", "--sparse", "--text"], files, text)?;
        let whole = fs::read_to_string(text).map_err(|error| format!("{}: {error}", text.display()))?;
        let mut least = 1;
        loop {
            write(text, &without_rare(&whole, least))?;
            self.merge(&[text.to_owned()], into)?;
            let bytes = fs::metadata(into).map_err(|error| error.to_string())?.len();
            if bytes <= BYTES_MAX {
                return Ok(());
            }
            least *= 2;
        }
    }

    fn run(&self, words: &[&str], files: &[PathBuf], into: &Path) -> Result<(), String> {
        let mut launch = Launch::new(&self.profdata, words);
        launch.arguments.extend(["--output".to_owned(), into.display().to_string()]);
        launch.arguments.extend(files.iter().map(|file| file.display().to_string()));
        finish(&launch).map(drop)
    }
}

/// A profile in LLVM's text form without the functions of which nothing ran as often as `least`. Each is a paragraph: name, hash,
/// and a number of counters with their values, a line each. The first has the heading in it, and stays.
fn without_rare(text: &str, least: u64) -> String {
    let stays = |function: &&str| {
        let mut lines = function.lines().skip_while(|line| *line != "# Num Counters:").skip(1);
        let counters = lines.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        lines.skip(1).take(counters).any(|count| count.parse::<u64>().is_ok_and(|count| count >= least))
    };
    let mut functions = text.trim_end().split("\n\n");
    let first = functions.next();
    first.into_iter().chain(functions.filter(stays)).flat_map(|function| [function, "\n\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_rarely_is_left_out() {
        let function = |name: &str, counts: &str| {
            let counters = counts.lines().count();
            format!("{name}\n# Func Hash:\n9\n# Num Counters:\n{counters}\n# Counter Values:\n{counts}")
        };
        let calls =
            "# Num Value Kinds:\n1\n# ValueKind = IPVK_MemOPSize:\n1\n# NumValueSites:\n1\n1\n65:800\n\n";
        let first = function("# IR level Instrumentation Flag\n:ir\nfirst", "1\n") + "\n";
        let often = function("often", "7\n100\n") + calls;
        let rarely = function("rarely", "99\n0\n3\n") + calls;
        let last = function("last", "5000\n") + "\n";
        let text = [first.clone(), often.clone(), rarely, last.clone()].concat();
        assert_eq!(without_rare(&text, 100), [first, often, last].concat());
        assert_eq!(without_rare(&text, 1), text);
    }
}
