//! Source files as `tidy` sees them: bare code without comments and literals, and where functions begin and end.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file of ours.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// The same with comments and the insides of literals blanked out, line for line.
    pub(crate) code: String,
    /// For each line whether it is test code.
    pub(crate) test_lines: Vec<bool>,
}

impl Source {
    /// Numbered lines of bare code (from 1), and whether each is test code.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let lines = self.code.lines().zip(&self.test_lines).enumerate();
        lines.map(|(index, (line, test))| (index + 1, line, *test))
    }

    /// Lines up to the tests at the end.
    pub(crate) fn lines_without_tests(&self) -> usize {
        self.test_lines.iter().filter(|test| !**test).count()
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below the root that git would keep, by a rule of ours: no build output, no hidden directory.
pub(crate) fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let skipped =
                name.starts_with('.') || ["target", "node_modules", "corpus", "artifacts"].contains(&&*name);
            if entry.file_type().unwrap().is_dir() && !skipped {
                open.push(entry.path());
            } else if name.ends_with(ending) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// The path of a file from the root.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// All Rust files.
pub(crate) fn sources() -> Vec<Source> {
    let mut sources: Vec<Source> = files(".rs")
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let code = bare(&text);
            let test_lines = vec![false; text.lines().count()];
            Source { path: relative(path), text, code, test_lines }
        })
        .collect();
    let test_modules: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs");
        let inside =
            test_modules.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/")));
        if inside || source.path.starts_with("tests/") || source.path.contains("/tests/") {
            source.test_lines.fill(true);
        } else {
            mark_test_blocks(source);
        }
    }
    sources
}

/// Paths without `.rs` of the modules that a file declares for tests alone: `#[cfg(test)] mod laws;`.
fn test_modules(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let crate_root = ["/lib", "/main"].iter().find_map(|name| stem.strip_suffix(name));
    let folder = crate_root.unwrap_or(stem);
    let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
    let declared =
        lines.windows(2).filter(|pair| pair[0].starts_with("#[cfg(test)]") || pair[0].contains("cfg(test)]"));
    declared
        .filter_map(|pair| pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(|module| format!("{folder}/{module}"))
        .collect()
}

/// Marks what follows a `#[cfg(test)]` up to the end of its block.
fn mark_test_blocks(source: &mut Source) {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut index = 0;
    while index < lines.len() {
        if lines[index].trim() == "#[cfg(test)]" {
            let end = block_end(&lines, index);
            source.test_lines[index..=end].fill(true);
            index = end;
        }
        index += 1;
    }
}

/// The line on which the first block that opens at or after `start` closes; or that of the `;` before any.
fn block_end(lines: &[&str], start: usize) -> usize {
    let mut depth = 0usize;
    let mut brackets = 0usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                '{' => depth += 1,
                '}' if depth <= 1 => return index,
                '}' => depth -= 1,
                ';' if depth == 0 && brackets == 0 => return index,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

/// Each function with a body: its name, its first line (from 1) and how many lines it takes.
pub(crate) fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        for name in words_after(line, "fn") {
            let length = block_end(&lines, index) - index + 1;
            found.push((name.to_owned(), index + 1, length));
        }
    }
    found
}

/// Names that a line of bare code defines, of any kind of item.
pub(crate) fn definitions(line: &str) -> Vec<&str> {
    ["fn", "struct", "enum", "trait", "type", "mod", "const", "static", "union", "macro_rules!"]
        .iter()
        .flat_map(|keyword| words_after(line, keyword))
        .filter(|name| !["fn", "unsafe", "async", "mut", "_"].contains(name))
        .collect()
}

/// The identifiers that directly follow a keyword on a line.
fn words_after<'l>(line: &'l str, keyword: &str) -> Vec<&'l str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(keyword)
        .filter(|(at, _)| !line[..*at].ends_with(is_word))
        .filter_map(|(at, _)| line[at + keyword.len()..].strip_prefix(' '))
        .map(|rest| &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether a word stands in a line of bare code.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
}

/// Blanks out comments and the insides of string and character literals; newlines stay.
pub(crate) fn bare(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest, 0),
            'r' | 'b' | 'c' if !after_word => prefixed(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (literal, after) = rest.split_at(length);
            code.extend(literal.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    code
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Length of a string literal whose quote stands at `open`.
fn string(rest: &str, open: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest[open + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return open + 1 + at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a literal such as `r#"…"#`, `b"…"`, `br"…"`, `b'…'`; 0 if it is none.
fn prefixed(rest: &str) -> usize {
    let letters = rest.bytes().take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    let hashes = rest[letters..].bytes().take_while(|b| *b == b'#').count();
    let open = letters + hashes;
    if letters > 2 || !rest[open..].starts_with(['"', '\'']) {
        return 0;
    }
    if rest[open..].starts_with('\'') {
        return if hashes == 0 && &rest[..letters] == "b" { 1 + character(&rest[1..]) } else { 0 };
    }
    if !rest[..letters].contains('r') {
        return if hashes == 0 { string(rest, open) } else { 0 };
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[open + 1..].find(&end).map_or(rest.len(), |at| open + 1 + at + end.len())
}

/// Length of a character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            rest[3..].find('\'').map_or(0, |at| 3 + at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}
