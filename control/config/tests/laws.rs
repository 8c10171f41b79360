//! Laws that hold for all configurations.

use proptest::prelude::*;

use super::{World, document};
use crate::config::{CompileEnvironment, Definitions, Document, compile, diff, export, parse};

fn definitions(environment: &CompileEnvironment<'_>, text: &str) -> Definitions {
    match parse(vec![document("ringway.yaml", text)], environment) {
        Ok((definitions, _)) => definitions,
        Err(diagnostics) => panic!("{diagnostics}\n{text}"),
    }
}

/// Any text that a YAML double-quoted scalar can hold and the grammar allows.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9:_./+*@%-]{0,12}",
        "(true|null|~|0x1F|1_0|12:30|1e3|off|- x|a: b|a #b|'|\\{x\\}|\\[)",
        "[\\PC\n\t]{0,20}",
    ]
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn value() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,20}[!-~])?"
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9._~-]{1,6}x", "\\{[a-z]{3}\\}", Just("%2F".to_owned())]
}

fn path() -> impl Strategy<Value = String> {
    let plain = prop::collection::vec(segment(), 0..4).prop_map(|segments| {
        let mut names = std::collections::HashSet::new();
        let unique =
            segments.into_iter().filter(|segment| !segment.starts_with('{') || names.insert(segment.clone()));
        format!("/{}", unique.collect::<Vec<_>>().join("/"))
    });
    let plain = plain.boxed();
    let rest = plain.clone().prop_map(|path| if path == "/" { "/*".to_owned() } else { format!("{path}/*") });
    prop_oneof![plain, rest, "~/[a-z]{1,5}/\\[0-9\\]\\+", "(GET|POST,PUT) /[a-z]{1,5}"]
}

prop_compose! {
    fn route()(
        body in prop::option::of(1..5000u64),
        header in prop::option::of(value()),
        parameter in text(),
        respond in prop::option::of(text()),
        websocket in any::<bool>(),
    ) -> String {
        let mut out = match &respond {
            Some(text) => format!("{{respond: {{body: {}}}", quoted(text)),
            None => format!("{{to: orders, websocket: {websocket}"),
        };
        if let Some(body) = body {
            out.push_str(&format!(", body: {body}KiB"));
        }
        if let Some(header) = header {
            let (header, parameter) = (quoted(&header), quoted(&parameter));
            out.push_str(&format!(", match: {{headers: {{x-a: {header}}}, query: {{b: {parameter}}}}}"));
        }
        out.push('}');
        out
    }
}

prop_compose! {
    fn whole()(
        request_ms in 1..100_000u64,
        rate in (1..1000u64, prop_oneof![Just("s"), Just("m"), Just("10s"), Just("1500ms")]),
        endpoints in prop::collection::hash_set("10\\.0\\.0\\.[1-9]:80[0-9]", 1..4),
        edits in prop::collection::btree_map("[a-w][A-Za-z-]{1,8}x", value(), 0..4),
        routes in prop::collection::btree_map(path(), prop::collection::vec(route(), 1..3), 0..6),
    ) -> String {
        let endpoints: Vec<String> = endpoints.into_iter().collect();
        let mut out = format!(
            "upstreams:\n  orders: {{endpoints: [{}], timeout: {{request: {request_ms}ms}}}}\n\
             limits: {{a: {{rate: {}/{}}}}}\nchains:\n  c:\n  - limit: a\n  - headers: {{response: {{set: {{",
            endpoints.join(", "), rate.0, rate.1,
        );
        let mut seen = std::collections::HashSet::new();
        let edits = edits.iter().filter(|(name, _)| seen.insert(name.to_ascii_lowercase()));
        let edits: Vec<String> = edits.map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
        out.push_str(&format!("{}}}}}}}\nhosts:\n  api.example.com:\n", edits.join(", ")));
        for (path, alternatives) in &routes {
            out.push_str(&format!("    {}: [{}]\n", quoted(path), alternatives.join(", ")));
        }
        out
    }
}

proptest! {
    #[test]
    fn what_is_exported_reads_back_as_the_same_definitions(text in whole()) {
        World::new(&[]).with(|environment| {
            let first = definitions(environment, &text);
            let exported = export(&first);
            let second = definitions(environment, &exported);
            assert!(first == second, "{text}\n{exported}");
            assert_eq!(export(&second), exported);
            assert_eq!(first.root_hash(), second.root_hash());
            assert!(diff(&first, &second).is_empty());
        });
    }

    #[test]
    fn two_configurations_differ_exactly_where_their_hashes_do(a in whole(), b in whole()) {
        World::new(&[]).with(|environment| {
            let (a, b) = (definitions(environment, &a), definitions(environment, &b));
            assert!(a.root_hash() == b.root_hash() || !diff(&a, &b).is_empty());
            assert_eq!(diff(&a, &b).len(), diff(&b, &a).len());
        });
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "[\\PC\n]{0,200}", at in 0..400usize) {
        let example = include_str!("../../../config/ringway.yaml");
        let cut = example.char_indices().nth(at * 8).map_or(example.len(), |(index, _)| index);
        let spliced = format!("{}{text}{}", &example[..cut], &example[cut..]);
        for text in [text, spliced] {
            World::new(&[]).with(|environment| {
                let documents = vec![Document { name: "a.yaml".to_owned(), text }];
                if let Err(diagnostics) = compile(documents, environment) {
                    assert!(!diagnostics.to_string().is_empty());
                }
            });
        }
    }
}
