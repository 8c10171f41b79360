//! Runs the README: its files are written, its commands are carried out in order, and what it shows must come.
//!
//! The first word after a fence is the block's language, the words after it say how it is used. `yaml FILE` is written to
//! that file. `sh` is run; the `text` after it is its whole output. `sh up` starts `ringway up` (and ends the one before it
//! as Ctrl-C does); lines of `text up` are waited for in what that prints. `exit=N` is the code that a block ends with,
//! `until` runs it again until its output is right, `elsewhere` is what the build machine runs. In a `text`, `…` is
//! anything inside of a line, and, alone, any lines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const RINGWAY: &str = env!("CARGO_BIN_EXE_ringway");
/// What is not there by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fenced block.
#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    words: Vec<String>,
    text: String,
}

impl Block {
    fn is(&self, language: &str, word: &str) -> bool {
        self.language == language && self.words.iter().any(|own| own == word)
    }

    fn exit_code(&self) -> i32 {
        let code = self.words.iter().find_map(|word| word.strip_prefix("exit="));
        code.map_or(0, |code| code.parse().unwrap())
    }
}

/// Where a reader of the page works: a folder, a state directory, and a loopback address that no other run of this test has.
struct Reader {
    folder: tempfile::TempDir,
    address: String,
    up: Option<Up>,
}

/// A running `ringway up` and what it has printed on both of its outputs.
struct Up {
    process: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

#[test]
fn every_block_of_the_readme_does_what_the_page_says() {
    let mut reader = Reader::new();
    let blocks = blocks(&page("README.md"));
    let mut blocks = blocks.iter().peekable();
    while let Some(block) = blocks.next() {
        match block.language.as_str() {
            "yaml" => fs::write(reader.folder.path().join(&block.words[0]), reader.adapted(block)).unwrap(),
            "sh" if block.is("sh", "up") => reader.start(block),
            "sh" if block.is("sh", "elsewhere") => runs_on_the_build_machine(block.text.trim()),
            "sh" => {
                let shown = blocks.next_if(|next| next.language == "text" && next.words.is_empty());
                reader.run(block, shown);
            }
            "text" if block.is("text", "up") => reader.wait(block),
            other => panic!("README.md:{}: nothing runs a block of `{other}` here", block.line),
        }
    }
    reader.stop();
}

#[test]
fn every_link_of_the_readme_leads_to_a_file() {
    for name in ["README.md", "docs/request.md"] {
        let text = page(name);
        let folder = root().join(name).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(folder.join(link).exists(), "{name} links to {link}, which is not there");
        }
    }
}

#[test]
fn outcomes_and_keys_that_pages_name_are_those_of_the_tables() {
    let (outcomes, keys) = (page("docs/reference/outcomes.md"), page("docs/reference/config.md"));
    for name in ["docs/request.md", "docs/reference/outcomes.md"] {
        let text = page(name);
        let parts: Vec<&str> = text.split('`').collect();
        assert!(parts.len() > 100, "{name} names nothing");
        for [quoted, after] in parts[1..].as_chunks().0 {
            let is_key =
                ["settings.", "upstreams.*.", "hosts.*."].iter().any(|start| quoted.starts_with(start));
            assert!(!is_key || keys.contains(&format!("| `{quoted}` |")), "{name}: {quoted} is no key");
            let is_name =
                quoted.contains('_') && quoted.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let is_known =
                outcomes.contains(&format!("`{quoted}`")) || keys.contains(&format!(".{quoted}` |"));
            assert!(!is_name || is_known, "{name}: {quoted} is neither an outcome nor a key");
            let status = after.strip_prefix(" (").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
            let heading = status.map(|status| format!("### `{quoted}` ({status})\n"));
            assert!(
                heading.is_none_or(|heading| outcomes.contains(&heading)),
                "{name}: {quoted} ({status:?})"
            );
        }
    }
}

/// The test command of the page runs this test, not the other way round; the build machine runs the same.
fn runs_on_the_build_machine(command: &str) {
    let alias = command.strip_prefix("cargo ").unwrap();
    assert!(page(".ci/run").lines().any(|line| line == format!("exec {command}")), "{command}");
    assert!(page(".cargo/config.toml").lines().any(|line| line.starts_with(&format!("{alias} = "))));
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // curl's progress is for people.
        fs::write(folder.path().join(".curlrc"), "silent\nshow-error\n").unwrap();
        // Process ids have at most 22 bits.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let address = format!("127.{}.{middle}.{low}", 64 + high);
        Self { folder, address, up: None }
    }

    /// The text with the addresses of this run.
    fn adapted(&self, block: &Block) -> String {
        block.text.replace("127.0.0.1:", &format!("{}:", self.address))
    }

    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", Path::new(RINGWAY).parent().unwrap().display()))
            .env("RINGWAY_STATE", self.folder.path().join("state"))
            .env("CURL_HOME", self.folder.path())
            .env("USER", "ada")
            .env_remove("RINGWAY_LOG")
            .env_remove("RINGWAY_API")
            .stdin(Stdio::null());
        command
    }

    /// Runs a block and compares.
    fn run(&self, block: &Block, shown: Option<&Block>) {
        let until = Instant::now() + PATIENCE;
        loop {
            let script = format!("exec 2>&1\n{}", self.adapted(block));
            let output = self.command("bash").args(["-c", &script]).output().unwrap();
            let came = String::from_utf8_lossy(&output.stdout).replace('\r', "");
            let expected = shown.map_or(String::new(), |shown| self.adapted(shown));
            let right = output.status.code() == Some(block.exit_code()) && fits(&expected, &came);
            if right {
                return;
            }
            assert!(
                block.is("sh", "until") && Instant::now() < until,
                "README.md:{}: {}\nthe page shows:\n{expected}\nit ends with {} and says:\n{came}\nup says:\n{}",
                block.line,
                block.text,
                output.status,
                self.up.as_ref().map_or(String::new(), |up| up.seen.join("\n"))
            );
        }
    }

    /// Starts `ringway up`, at addresses of our own.
    fn start(&mut self, block: &Block) {
        self.stop();
        let line = block.text.trim().replace("cargo run --release --", "ringway");
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.starts_with(&["ringway", "up"]), "README.md:{}: no `up` in {line}", block.line);
        let mut command = self.command(RINGWAY);
        command.args(&words[1..]).args(["--api", &format!("{}:9091", self.address)]);
        if words.len() == 2 {
            command.args(["--address", &self.address]);
        }
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        gather(process.stdout.take().unwrap(), sender.clone());
        gather(process.stderr.take().unwrap(), sender);
        self.up = Some(Up { process, lines, seen: Vec::new() });
    }

    /// Waits until `up` has printed these lines, in this order; others may stand between them.
    fn wait(&mut self, block: &Block) {
        let expected = self.adapted(block);
        let up = self.up.as_mut().expect("up runs");
        let until = Instant::now() + PATIENCE;
        loop {
            let mut seen = up.seen.iter();
            let missing = expected
                .lines()
                .filter(|line| *line != "…")
                .find(|line| !seen.any(|said| fits_line(line, said)));
            let Some(missing) = missing else { return };
            match up.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => up.seen.push(line),
                Err(error) => panic!(
                    "README.md:{}: up does not say\n{missing}\nbut\n{}\n({error})",
                    block.line,
                    up.seen.join("\n")
                ),
            }
        }
    }

    /// Ends `up` as Ctrl-C does; it ends in order.
    fn stop(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        let sent = Command::new("bash").args(["-c", &format!("kill -INT {}", up.process.id())]).status();
        assert!(sent.unwrap().success());
        let status = up.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", up.seen.join("\n"));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Sends the lines of an output as they come.
fn gather(output: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// Whether an output is what a page shows.
fn fits(shown: &str, came: &str) -> bool {
    let (shown, came): (Vec<&str>, Vec<&str>) = (shown.lines().collect(), came.lines().collect());
    fits_lines(&shown, &came)
}

fn fits_lines(shown: &[&str], came: &[&str]) -> bool {
    match shown {
        [] => came.is_empty(),
        ["…", rest @ ..] => (0..=came.len()).any(|skipped| fits_lines(rest, &came[skipped..])),
        [line, rest @ ..] => {
            came.first().is_some_and(|said| fits_line(line, said)) && fits_lines(rest, &came[1..])
        }
    }
}

fn fits_line(shown: &str, came: &str) -> bool {
    let Some((before, after)) = shown.split_once('…') else { return shown == came };
    let Some(mut rest) = came.strip_prefix(before) else { return false };
    loop {
        if fits_line(after, rest) {
            return true;
        }
        let Some(first) = rest.chars().next() else { return false };
        rest = &rest[first.len_utf8()..];
    }
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(fits("a\n…\nd … f\n", "a\nb\nc\nd e f"));
    assert!(fits("a\n…\n", "a\n") && fits("", "") && fits("…", ""));
    assert!(!fits("a\n", "a\nb\n") && !fits("a\nb\n", "a\n") && !fits("a…c", "a-b") && !fits("", "a"));
}

/// The fenced blocks of a page.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(tag)) => {
                let mut words = tag.split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default();
                open = Some(Block { line: index + 1, language, words: words.collect(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
