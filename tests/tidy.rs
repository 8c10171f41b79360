//! The house style as a test: what a machine can check of it, with tables of what is allowed. A list of exceptions
//! only shrinks: an entry that is no longer needed fails as well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::fs;

use source::{Source, definitions, files, functions, has_word, relative, root, sources};

/// Which crates of ours a crate may import (`docs/architecture.md`). One that is not listed may import any.
const CRATES: &[(&str, &[&str])] = &[
    ("src/wire", &[]),
    ("src/snapshot", &[]),
    ("src/record", &[]),
    ("src/rt", &[]),
    ("src/transport", &["rt", "wire"]),
    ("src/policy", &["wire", "snapshot", "record"]),
    ("src/gateway", &["rt", "wire", "transport", "snapshot", "record", "policy"]),
    ("control", &["wire", "snapshot", "record", "policy"]),
    ("loadtest", &["rt", "wire", "transport"]),
    ("bench/ci", &[]),
    ("bench/micro", &["wire", "snapshot", "record", "policy"]),
];

/// Foreign crates, and the only crates of ours that may import them.
const FOREIGN: &[(&str, &[&str])] = &[
    ("monoio", &["src/rt"]),
    ("io-uring", &["src/rt"]),
    ("tokio", &["control"]),
    ("axum", &["control"]),
    ("sqlx", &["control"]),
    ("hyper-util", &["control"]),
    ("httparse", &["src/wire"]),
    ("rkyv", &["src/snapshot"]),
];

/// Layers of the control plane, from the entry down: a module may name those further down, never those above.
const CONTROL_LAYERS: &[&[&str]] = &[
    &["commands"],
    &["api", "web", "ingest"],
    &["app"],
    &["publish", "compile", "analytics", "billing"],
    &["store"],
    &["config"],
    &["domain"],
];

/// Files that name a layer above their own: file, layer, why. To be shortened.
const CONTROL_LAYERS_BROKEN: &[(&str, &str, &str)] =
    &[("control/config.rs", "compile", "the one entry from text to model stands beside the text")];

/// Files that may hold `unsafe`, each with why. In all of them every use has its `SAFETY:` argument.
const UNSAFE: &[(&str, &str)] = &[
    ("bench/micro/src/allocator.rs", "an allocator that counts"),
    ("src/gateway/records/region.rs", "shared maps of segment files"),
    ("src/gateway/sealed_map.rs", "a memfd and its map"),
    ("src/gateway/signals.rs", "sigmask and sigwait"),
    ("src/record/segment.rs", "the committed length is an atomic inside mapped bytes"),
    ("src/rt/laws/accepting.rs", "asks the kernel for what the seam set"),
    ("src/rt/laws/cost.rs", "an allocator that counts, in tests"),
    ("src/rt/pinned.rs", "a buffer that the kernel writes"),
    ("src/rt/probe.rs", "system calls of the doctor"),
    ("src/rt/sys.rs", "system calls"),
    ("src/rt/sys/udp.rs", "system calls of UDP sockets"),
    ("src/rt/task.rs", "one allocation a task"),
    ("src/transport/quic/bound.rs", "what quinn wants to be Send stays on its thread"),
    ("src/wire/lanes.rs", "vector instructions that every processor of the kind has"),
];

/// Functions longer than [`FUNCTION_LINES_MAX`], with their length: they may only get shorter.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Files longer than [`FILE_LINES_MAX`], with their length: they may only get shorter.
const LONG_FILES: &[(&str, usize)] = &[];

/// Identifiers with a banned word that a standard or a foreign interface demands: file, identifier, why.
const NAMES_ALLOWED: &[(&str, &str, &str)] = &[
    ("bench/peers/pingora/src/main.rs", "CTX", "Pingora's trait names it so"),
    ("bench/peers/pingora/src/main.rs", "new_ctx", "Pingora's trait names it so"),
    ("src/transport/quic/faulty.rs", "local_addr", "quinn's trait names it so"),
    ("src/transport/quic/socket.rs", "local_addr", "quinn's trait names it so"),
];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const REQUEST_LINES_MAX: usize = 100;

/// Words that no identifier of ours has (`docs/glossary.md` says what to write instead). Words of the glossary's
/// right column that have another meaning in a standard as well (target, server, peer, event) are left to review.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("frontend", "downstream"),
    ("backend", "upstream"),
    ("vhost", "host"),
    ("middleware", "policy, stage or chain"),
    ("plugin", "policy or stage"),
    ("ctx", "the thing itself"),
    ("cfg", "settings"),
    ("mgr", "what it does"),
    ("req", "request"),
    ("resp", "reply or response"),
    ("conn", "connection"),
    ("srv", "the thing itself"),
    ("svc", "the thing itself"),
    ("addr", "address"),
    ("msg", "message"),
];

/// Names that say nothing about what a module is for.
const BANNED_MODULES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "prelude", "misc", "mod"];

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let mut wrong = Vec::new();
    for (krate, dependencies) in dependencies_by_crate() {
        let allowed = CRATES.iter().find(|(path, _)| *path == krate);
        for dependency in &dependencies {
            let ours = dependency.strip_prefix("ringway-");
            if let (Some(ours), Some((_, allowed))) = (ours, allowed)
                && !allowed.contains(&ours)
            {
                wrong.push(format!("{krate} imports {dependency}"));
            }
            if let Some((_, holders)) = FOREIGN.iter().find(|(name, _)| name == dependency)
                && !holders.contains(&krate.as_str())
            {
                wrong.push(format!("{krate} imports {dependency}, which only {holders:?} may"));
            }
        }
    }
    for (path, _) in CRATES {
        assert!(root().join(path).join("Cargo.toml").is_file(), "{path} is in the table and is no crate");
    }
    none(&wrong);
}

/// Crates by path from the root with their `[dependencies]` (not those of tests).
fn dependencies_by_crate() -> BTreeMap<String, Vec<String>> {
    let mut crates = BTreeMap::new();
    for path in files("Cargo.toml") {
        let folder = relative(path.parent().unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let mut section = "";
        let mut dependencies = Vec::new();
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section.starts_with("[dependencies") || section.ends_with(".dependencies]") {
                let name = line.split(['.', ' ', '=']).next().unwrap();
                dependencies.extend((!name.is_empty() && !name.starts_with('#')).then(|| name.to_owned()));
            }
        }
        // What is fuzzed and what is measured beside us are workspaces of their own.
        let own = !folder.starts_with("fuzz") && !folder.starts_with("bench/peers");
        if !folder.is_empty() && own {
            crates.insert(folder, dependencies);
        }
    }
    crates
}

#[test]
fn pure_crates_do_no_io_and_read_no_clock() {
    const BANNED: &[&str] = &[
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "File::",
        "TcpStream",
        "UdpSocket",
        "Instant::now",
        "SystemTime",
        "println",
        "eprintln",
        "getrandom",
    ];
    let mut wrong = Vec::new();
    for source in sources() {
        let pure = ["src/wire/", "src/policy/", "src/snapshot/", "src/record/"];
        if pure.iter().any(|folder| source.path.starts_with(folder)) {
            for (line, code, test) in source.lines() {
                wrong.extend(
                    BANNED
                        .iter()
                        .filter(|word| !test && code.contains(**word))
                        .map(|word| format!("{}:{line}: {word} in a pure crate", source.path)),
                );
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_control_plane_names_only_layers_below() {
    let layer = |module: &str| CONTROL_LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(module) = source.path.strip_prefix("control/") else { continue };
        let module = module.split(['/', '.']).next().unwrap();
        let Some(own) = layer(module) else { continue };
        for (line, code, test) in source.lines().filter(|(_, code, _)| code.contains("crate::")) {
            for (at, _) in code.match_indices("crate::") {
                let named = code[at + 7..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let excepted =
                    CONTROL_LAYERS_BROKEN.iter().any(|(path, up, _)| *path == source.path && *up == named);
                if !test && !excepted && layer(named).is_some_and(|named_layer| named_layer < own) {
                    wrong.push(format!("{}:{line}: {module} names {named}, which is above it", source.path));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn only_the_seam_names_the_runtime() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.path.starts_with("src/rt/")) {
        for (line, code, _) in source.lines() {
            if has_word(code, "monoio") || has_word(code, "io_uring") {
                wrong.push(format!("{}:{line}: {}", source.path, code.trim()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn unsafe_stands_only_in_listed_files_and_is_argued() {
    let mut wrong = Vec::new();
    let sources = sources();
    for source in &sources {
        let listed = UNSAFE.iter().any(|(path, _)| *path == source.path);
        let uses: Vec<usize> =
            source.lines().filter(|(_, code, _)| has_word(code, "unsafe")).map(|(line, _, _)| line).collect();
        if !listed {
            wrong.extend(uses.iter().map(|line| format!("{}:{line}: unsafe outside the list", source.path)));
        } else if uses.is_empty() {
            wrong.push(format!("{} needs no place in the list any more", source.path));
        }
        // What an `unsafe fn` asks of its caller is the matter of its documentation, or of the trait's.
        let declares =
            |line: &usize| source.code.lines().nth(line - 1).is_some_and(|code| code.contains("unsafe fn"));
        wrong.extend(
            uses.iter()
                .filter(|line| !declares(line) && !argued(source, **line))
                .map(|line| format!("{}:{line}: no SAFETY: above it", source.path)),
        );
    }
    for (path, _) in UNSAFE {
        assert!(sources.iter().any(|source| source.path == *path), "{path} is listed and does not exist");
    }
    none(&wrong);
}

/// Whether the comment above a line, or above its statement, argues with `SAFETY:` or, for a declaration, `# Safety`.
fn argued(source: &Source, line: usize) -> bool {
    let above = source.text.lines().take(line).collect::<Vec<_>>();
    let mut seen_comment = false;
    for text in above.iter().rev().map(|text| text.trim()) {
        let comment = text.starts_with("//");
        if comment && (text.contains("SAFETY:") || text.contains("# Safety")) {
            return true;
        }
        if seen_comment && !comment {
            return false;
        }
        seen_comment |= comment;
        let ended = text.ends_with([';', '}']) && !text.contains("unsafe");
        if !comment && (text.is_empty() || ended) {
            return false;
        }
    }
    false
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let length = source.text.lines().count();
        let excepted = LONG_FILES.iter().find(|(path, _)| *path == source.path);
        check_length(&source.path, length, FILE_LINES_MAX, excepted.map(|(_, was)| *was), &mut wrong);
        for (name, line, length) in functions(&source) {
            let excepted =
                LONG_FUNCTIONS.iter().find(|(path, long, _)| *path == source.path && *long == name);
            let place = format!("{}:{line}: fn {name}", source.path);
            check_length(&place, length, FUNCTION_LINES_MAX, excepted.map(|(_, _, was)| *was), &mut wrong);
        }
    }
    none(&wrong);
}

fn check_length(place: &str, length: usize, max: usize, excepted: Option<usize>, wrong: &mut Vec<String>) {
    match excepted {
        Some(_) if length <= max => wrong.push(format!("{place} needs no exception any more")),
        Some(was) if length != was => {
            wrong.push(format!("{place} had {was} lines and has {length}: only shrink it"))
        }
        None if length > max => wrong.push(format!("{place} has {length} lines, more than {max}")),
        _ => {}
    }
}

#[test]
fn the_request_is_one_page() {
    let sources = sources();
    if let Some(request) = sources.iter().find(|source| source.path == "src/gateway/request.rs") {
        let lines = request.lines_without_tests();
        assert!(lines <= REQUEST_LINES_MAX, "src/gateway/request.rs has {lines} lines without tests");
    }
}

#[test]
fn each_file_says_first_what_it_is_for() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    none(&wrong);
}

#[test]
fn modules_are_files_of_their_own_name() {
    let banned = |path: &String| {
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
        stem.is_some_and(|stem| BANNED_MODULES.contains(&stem))
    };
    none(&sources().into_iter().map(|source| source.path).filter(banned).collect::<Vec<_>>());
}

#[test]
fn identifiers_have_no_banned_word() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (line, code, _) in source.lines() {
            for name in definitions(code) {
                let allowed =
                    NAMES_ALLOWED.iter().any(|(path, word, _)| *path == source.path && *word == name);
                if allowed {
                    continue;
                }
                let banned =
                    words(name).into_iter().find_map(|word| BANNED_WORDS.iter().find(|(b, _)| *b == word));
                if let Some((word, instead)) = banned {
                    wrong.push(format!("{}:{line}: {name} has {word}: write {instead}", source.path));
                }
                if name.starts_with("get_") {
                    wrong.push(format!("{}:{line}: {name}: no get_", source.path));
                }
            }
        }
    }
    none(&wrong);
}

/// The lower-case words of an identifier in any of the cases.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = c.is_lowercase() || c.is_numeric();
        words.last_mut().unwrap().extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    words
}

#[test]
fn tests_neither_sleep_nor_are_ignored() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (line, code, test) in source.lines() {
            if code.contains("#[ignore") {
                wrong.push(format!("{}:{line}: an ignored test", source.path));
            }
            if test && (code.contains("thread::sleep") || code.contains("time::sleep(")) {
                wrong.push(format!("{}:{line}: a test sleeps; wait for an event", source.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn nothing_is_left_to_do_in_comments() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut wrong = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| has_word(line, mark)) {
                wrong.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = text.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let wrong: Vec<String> = section
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("ringway-"))
        .filter(|line| !line.contains(" # "))
        .map(str::to_owned)
        .collect();
    none(&wrong);
}

#[test]
fn a_panic_unwinds_in_every_profile() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!text.contains("panic = \"abort\""), "one panicking connection must not take the process");
    assert!(text.contains("panic = \"unwind\""), "the release profile pins it");
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let text = "let a = \"unsafe // \\\" {\"; // unsafe\nlet b = 'x'; let c: &'static str = r#\"fn \"x\"#; /* {\n/* } */ */ fn d<'a>() { b'\\'' }\n";
    let bare = source::bare(text);
    assert_eq!(bare.lines().count(), text.lines().count());
    assert!(!has_word(&bare, "unsafe"));
    assert!(has_word(&bare, "static") && !bare.contains("\"x\""));
    assert_eq!(bare.matches('{').count(), bare.matches('}').count());
    assert_eq!(definitions(bare.lines().nth(2).unwrap()), ["d"]);
    assert_eq!(words("getHTTPConn_addr2"), ["get", "httpconn", "addr2"]);
    assert_eq!(words("HttpConn"), ["http", "conn"]);
}

/// Fails with all findings at once.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
