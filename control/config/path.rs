//! The key of a route, `[METHOD,…] PATH`, and host names.
//!
//! | written | matches |
//! |-|-|
//! | `/a/b` | this path |
//! | `/a/*` | `/a` and all below it, never `/ab`; `/*` is all |
//! | `/a/{id}/b` | any one non-empty segment in place of the variable; may end in `/*` |
//! | `~/x/[0-9]+` | an expression over the whole path, tried after all others |

use std::fmt::Write as _;

use ringway_snapshot::model::{HostPattern, PathPattern, Segment};

use super::limits::PATH_BYTES_MAX;
use super::scalar::Complaint;

/// What a route's key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteKey {
    /// Sorted, upper case; empty: all.
    pub(crate) methods: Vec<String>,
    /// Which paths.
    pub(crate) path: PathPattern,
}

impl RouteKey {
    /// Reads `GET,HEAD /status`, `/orders/*`, `~/x/[0-9]+`.
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        let (methods, path) = match text.split_once(' ') {
            Some((methods, path)) if !text.starts_with(['/', '~']) => {
                (parse_methods(methods)?, path.trim_start())
            }
            _ => (Vec::new(), text),
        };
        if path.len() > PATH_BYTES_MAX {
            return Err(Complaint::new(format!("the path is longer than {PATH_BYTES_MAX} bytes")));
        }
        let path = match path.strip_prefix('~') {
            Some(expression) => parse_regex(expression)?,
            None => parse_path(path)?,
        };
        Ok(Self { methods, path })
    }

    /// As it is written canonically.
    pub(crate) fn canonical(&self) -> String {
        let mut out = self.methods.join(",");
        if !out.is_empty() {
            out.push(' ');
        }
        write_path(&mut out, &self.path);
        out
    }
}

/// Whether a key of a host is meant to be a route rather than a setting.
pub(crate) fn looks_like_route(key: &str) -> bool {
    key.contains(['/', '~', ' ', '*'])
}

/// The canonical form of a host name or a route's key; anything else as it is.
pub(crate) fn canonical_key(text: &str) -> String {
    if text.contains(['/', '~']) {
        return RouteKey::parse(text).map_or_else(|_| text.to_owned(), |key| key.canonical());
    }
    text.to_ascii_lowercase()
}

fn parse_methods(text: &str) -> Result<Vec<String>, Complaint> {
    let mut methods = Vec::new();
    for method in text.split(',') {
        if !is_token(method) {
            return Err(Complaint::new(format!("`{method}` is not a method"))
                .hint("write `GET /path` or `GET,POST /path`"));
        }
        let upper = method.to_ascii_uppercase();
        if upper != method {
            return Err(
                Complaint::new(format!("methods are upper case: `{method}`")).label(format!("write {upper}"))
            );
        }
        methods.push(upper);
    }
    methods.sort();
    methods.dedup();
    Ok(methods)
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Anchors are implied; they may be written. The syntax itself is checked where it is compiled.
fn parse_regex(expression: &str) -> Result<PathPattern, Complaint> {
    let inner = expression.strip_prefix('^').unwrap_or(expression);
    let inner = match inner.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => rest,
        _ => inner,
    };
    if inner.is_empty() {
        return Err(
            Complaint::new("the expression is empty").label("write `~` and an expression: `~/x/[0-9]+`")
        );
    }
    if let Err(error) = regex_automata::meta::Regex::new(inner) {
        let reason = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        return Err(Complaint::new("the path is not a regular expression").label(reason));
    }
    Ok(PathPattern::Regex(inner.to_owned()))
}

fn parse_path(path: &str) -> Result<PathPattern, Complaint> {
    if !path.starts_with('/') {
        return Err(Complaint::new("a path begins with `/`")
            .hint("or with `~` for an expression; methods stand before it: `GET /path`"));
    }
    let (stem, rest) = match path.strip_suffix("/*") {
        Some(stem) => (stem, true),
        None => (path, false),
    };
    let mut segments = Vec::new();
    for segment in stem.split('/').skip(1) {
        segments.push(parse_segment(segment)?);
    }
    if stem.len() > 1 && (stem.contains("//") || (rest && stem.ends_with('/'))) {
        return Err(Complaint::new("the path has an empty segment").label("write one `/`"));
    }
    if segments.iter().any(|segment| matches!(segment, Segment::Variable(_))) {
        unique_variables(&segments)?;
        return Ok(PathPattern::Template { segments, rest });
    }
    Ok(if rest { PathPattern::Prefix(stem.to_owned()) } else { PathPattern::Exact(path.to_owned()) })
}

fn unique_variables(segments: &[Segment]) -> Result<(), Complaint> {
    let mut names: Vec<&str> = Vec::new();
    for segment in segments {
        if let Segment::Variable(name) = segment {
            if names.contains(&name.as_str()) {
                return Err(Complaint::new(format!("the variable `{{{name}}}` stands twice"))
                    .label("give each its own name"));
            }
            names.push(name);
        }
    }
    Ok(())
}

fn parse_segment(segment: &str) -> Result<Segment, Complaint> {
    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            return Err(Complaint::new("a variable is `{name}` of letters, digits and `_`"));
        }
        return Ok(Segment::Variable(name.to_owned()));
    }
    if segment.contains(['{', '}']) {
        return Err(Complaint::new("a variable is a whole segment: `/a/{id}/b`")
            .hint("for parts of a segment use an expression: `~/a/x-[0-9]+`"));
    }
    if segment.contains('*') {
        return Err(Complaint::new("`*` stands only at the end, as `/*`")
            .hint("one segment of any name is `{name}`; anything else is an expression after `~`"));
    }
    if segment == "." || segment == ".." {
        return Err(Complaint::new("dot segments never match: paths are normalised first")
            .label("write the path that is meant"));
    }
    check_characters(segment)?;
    Ok(Segment::Literal(segment.to_owned()))
}

/// The characters of a normalised path segment (RFC 3986 §3.3): what would be decoded is written plainly.
fn check_characters(segment: &str) -> Result<(), Complaint> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair: Vec<u8> = bytes.by_ref().take(2).collect();
            let value = std::str::from_utf8(&pair).ok().filter(|pair| pair.len() == 2);
            let Some(value) = value.and_then(|pair| u8::from_str_radix(pair, 16).ok()) else {
                return Err(Complaint::new("`%` is followed by two hexadecimal digits"));
            };
            if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
                let label = format!("write `{}`", char::from(value));
                return Err(Complaint::new("paths are normalised before they are matched").label(label));
            }
            if pair.iter().any(u8::is_ascii_lowercase) {
                return Err(Complaint::new("percent-encoding is in upper case")
                    .label(format!("write `%{value:02X}`")));
            }
        } else if !(byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte)) {
            let shown = segment
                .chars()
                .find(|c| !c.is_ascii() || !(c.is_ascii_alphanumeric() || "-._~!$&'()+,;=:@%".contains(*c)));
            let shown = shown.unwrap_or(char::from(byte));
            let mut encoded = String::new();
            for byte in shown.to_string().bytes() {
                let _ = write!(encoded, "%{byte:02X}");
            }
            return Err(Complaint::new(format!("`{shown}` cannot stand in a path"))
                .label(format!("write `{encoded}`")));
        }
    }
    Ok(())
}

fn write_path(out: &mut String, path: &PathPattern) {
    match path {
        PathPattern::Exact(path) => out.push_str(path),
        PathPattern::Prefix(stem) => {
            out.push_str(stem);
            out.push_str("/*");
        }
        PathPattern::Template { segments, rest } => {
            for segment in segments {
                out.push('/');
                match segment {
                    Segment::Literal(text) => out.push_str(text),
                    Segment::Variable(name) => {
                        let _ = write!(out, "{{{name}}}");
                    }
                }
            }
            if *rest {
                out.push_str("/*");
            }
        }
        PathPattern::Regex(expression) => {
            out.push('~');
            out.push_str(expression);
        }
    }
}

/// Reads `api.example.com`, `*.example.com`, `*`, `127.0.0.1`, `[::1]`; lower-cases it.
pub(crate) fn parse_host(text: &str) -> Result<HostPattern, Complaint> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(HostPattern::Exact(format!("[{address}]"))),
            Err(_) => Err(Complaint::new("not an IPv6 address")),
        };
    }
    if text.contains(':') {
        return Err(Complaint::new("a host name has no port")
            .label("routes hold on every listener: leave the port out"));
    }
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix("*.") {
        Some(suffix) if is_dns_name(suffix) => Ok(HostPattern::Wildcard(suffix.to_owned())),
        None if is_dns_name(&lower) => Ok(HostPattern::Exact(lower)),
        _ if text.contains('*') => Err(Complaint::new("a wildcard is `*.` and a name, or `*` alone")),
        _ => Err(Complaint::new(format!("`{text}` is not a host name"))
            .hint("names beyond ASCII are written in their xn-- form")),
    }
}

/// As it is written canonically.
pub(crate) fn write_host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        HostPattern::Any => "*".to_owned(),
    }
}

/// Letters, digits, `-` and `_` in labels of 1 to 63 bytes, at most 253 in all (RFC 1123 §2.1, and `_` as in use).
pub(crate) fn is_dns_name(name: &str) -> bool {
    let good_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(good_label)
}
