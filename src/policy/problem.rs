//! Replies that the gateway makes itself: problem details (RFC 9457) and `Proxy-Status` (RFC 9209).
//!
//! Both are written by hand into a byte vector: no formatting machinery, one allocation at most. What a peer sent
//! may stand in them (the path), so every text is escaped for where it stands.

use ringway_record::Outcome;

/// Media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A problem, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// Gives type and title, and the detail where there is no better one.
    pub outcome: Outcome,
    /// Status of the reply.
    pub status: u16,
    /// What happened this time.
    pub detail: Option<&'a str>,
    /// The path of the request, where it could be read; never the query, which may hold secrets.
    pub instance: Option<&'a [u8]>,
    /// As in `X-Request-Id`.
    pub request_id: Option<&'a str>,
    /// The policy's own members.
    pub members: &'a [Member<'a>],
}

/// A member of a policy's own.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: Value<'a>,
}

/// A value of a member.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Number(u64),
    /// A list of strings.
    Texts(&'a [&'a str]),
}

impl<'a> Problem<'a> {
    /// The problem of an outcome that makes a reply, with nothing told beyond the table; 500 for one that makes none.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: outcome.status().unwrap_or(500),
            detail: None,
            instance: None,
            request_id: None,
            members: &[],
        }
    }

    /// Appends the JSON object. Infallible, whatever the texts hold.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":");
        write_text(out, self.outcome.problem().unwrap_or("about:blank").as_bytes());
        write_name(out, "title");
        write_text(out, self.outcome.title().as_bytes());
        write_name(out, "status");
        write_number(out, u64::from(self.status));
        write_name(out, "detail");
        write_text(out, self.detail.unwrap_or(self.outcome.row().meaning).as_bytes());
        if let Some(instance) = self.instance {
            write_name(out, "instance");
            write_text(out, instance);
        }
        if let Some(request_id) = self.request_id {
            write_name(out, "request_id");
            write_text(out, request_id.as_bytes());
        }
        for member in self.members {
            write_name(out, member.name);
            match member.value {
                Value::Text(text) => write_text(out, text.as_bytes()),
                Value::Number(number) => write_number(out, number),
                Value::Texts(texts) => write_texts(out, texts),
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    write_text(out, name.as_bytes());
    out.push(b':');
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_texts(out: &mut Vec<u8>, texts: &[&str]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, text.as_bytes());
    }
    out.push(b']');
}

/// A JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD.
fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        write_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // `<` and DEL need no escape in JSON; a reader that sniffs for HTML is not helped by them either.
            0..0x20 | 0x7f | b'<' => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

/// What `Proxy-Status` says of one reply.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProxyStatus<'a> {
    /// The upstream that was asked, by its name.
    pub next_hop: Option<&'a str>,
    /// The status that it sent, where another was sent on.
    pub received_status: Option<u16>,
    /// How the request ended.
    pub outcome: Option<Outcome>,
}

impl ProxyStatus<'_> {
    /// Appends the field's value: `name; error=…; next-hop="…"; received-status=…; details="…"`.
    pub fn write(&self, name: &str, out: &mut Vec<u8>) {
        write_token_or_string(out, name);
        if let Some(error) = self.outcome.and_then(Outcome::proxy_error) {
            out.extend_from_slice(b"; error=");
            out.extend_from_slice(error.as_bytes());
        }
        if let Some(next_hop) = self.next_hop {
            out.extend_from_slice(b"; next-hop=");
            write_string(out, next_hop);
        }
        if let Some(status) = self.received_status {
            out.extend_from_slice(b"; received-status=");
            write_number(out, u64::from(status));
        }
        if let Some(outcome) = self.outcome.filter(|outcome| outcome.proxy_error().is_some()) {
            out.extend_from_slice(b"; details=");
            write_string(out, outcome.name());
        }
    }
}

/// A structured-field token (RFC 9651 §3.3.4) where the text is one, a string where it is not.
fn write_token_or_string(out: &mut Vec<u8>, text: &str) {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*');
    let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
    if first && rest { out.extend_from_slice(text.as_bytes()) } else { write_string(out, text) }
}

/// A structured-field string (RFC 9651 §3.3.3), which is ASCII: anything else becomes `?`.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
            ' '..='~' => out.push(char as u8),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(problem: Problem<'_>, expected: Expect) {
        let mut out = Vec::new();
        problem.write(&mut out);
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn a_problem_tells_what_the_table_says() {
        check(
            Problem::of(Outcome::NoRoute),
            expect![[r#"
                {"type":"urn:ringway:problem/no-route","title":"No route","status":404,"detail":"The host is known; none of its routes matches."}
            "#]],
        );
    }

    #[test]
    fn a_problem_has_all_members_in_order() {
        check(
            Problem {
                detail: Some("The limit \"gold\" is used up."),
                instance: Some(b"/a\"b\\c\x01<\xff\xc3\xa9"),
                request_id: Some("0193"),
                members: &[
                    Member { name: "violated-policies", value: Value::Texts(&["gold", "sil\"ver"]) },
                    Member { name: "retry_after", value: Value::Number(u64::MAX) },
                    Member { name: "realm", value: Value::Text("é\n") },
                ],
                ..Problem::of(Outcome::RateLimited)
            },
            expect![[r#"
                {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota exceeded","status":429,"detail":"The limit \"gold\" is used up.","instance":"/a\"b\\c\u0001\u003c�é","request_id":"0193","violated-policies":["gold","sil\"ver"],"retry_after":18446744073709551615,"realm":"é\n"}
            "#]],
        );
    }

    fn proxy_status(status: ProxyStatus<'_>, name: &str) -> String {
        let mut out = Vec::new();
        status.write(name, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn proxy_status_says_whose_fault_it_was() {
        let denied = ProxyStatus { outcome: Some(Outcome::CredentialMissing), ..ProxyStatus::default() };
        assert_eq!(
            proxy_status(denied, "ringway"),
            r#"ringway; error=http_request_denied; details="credential_missing""#
        );
        let ours = ProxyStatus { outcome: Some(Outcome::Served), ..ProxyStatus::default() };
        assert_eq!(proxy_status(ours, "9ring"), r#""9ring""#);
        let relayed = ProxyStatus { next_hop: Some("or\"dersé"), received_status: Some(302), outcome: None };
        assert_eq!(proxy_status(relayed, "edge-1"), r#"edge-1; next-hop="or\"ders?"; received-status=302"#);
    }

    /// A reader of JSON strings that knows nothing of the writer.
    fn read_text(json: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let mut rest = json.strip_prefix(b"\"")?;
        let mut text = Vec::new();
        loop {
            match rest {
                [b'"', after @ ..] => return Some((text, after)),
                [b'\\', b'u', a, b, c, d, after @ ..] => {
                    let digits = String::from_utf8(vec![*a, *b, *c, *d]).ok()?;
                    let code = u32::from_str_radix(&digits, 16).ok()?;
                    text.extend_from_slice(char::from_u32(code)?.to_string().as_bytes());
                    rest = after;
                }
                [b'\\', escaped, after @ ..] => {
                    text.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'"' | b'\\' => *escaped,
                        _ => return None,
                    });
                    rest = after;
                }
                [0..0x20, ..] | [] => return None,
                [byte, after @ ..] => {
                    text.push(*byte);
                    rest = after;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_string_that_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            write_text(&mut out, &bytes);
            let (text, rest) = read_text(&out).expect("not a JSON string");
            prop_assert!(rest.is_empty());
            prop_assert_eq!(String::from_utf8(text).unwrap(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_makes_a_structured_string(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&mut out, &text);
            prop_assert!(out.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let inner = &out[1..out.len() - 1];
            let mut bytes = inner.iter();
            while let Some(byte) = bytes.next() {
                prop_assert_ne!(*byte, b'"');
                if *byte == b'\\' {
                    prop_assert!(matches!(bytes.next(), Some(b'"' | b'\\')));
                }
            }
        }
    }
}
