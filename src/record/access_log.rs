//! The access log: one JSON object a line, made of a record. Nothing that a record does not hold can get into it:
//! no query, no field value but user agent and referer, no key but its id.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::metrics::Names;
use crate::record::{NO_STAGE, Record, Text};

/// Keys of a line and what they say, in their order; `docs/reference/access-log.md` is printed from it.
pub const FIELDS: &[(&str, &str)] = &[
    ("time", "When the first byte of the request was there, UTC (RFC 3339)."),
    ("request_id", "Id of the request (UUIDv7), as in `X-Request-Id`."),
    ("trace_id", "W3C trace id that was sent to the upstream."),
    ("span_id", "The gateway's span in that trace."),
    ("linked_trace_id", "Trace id that a caller sent who is not trusted with it."),
    ("peer", "Address and port of the peer."),
    ("client", "Address of the caller as trusted peers forwarded it, else the peer's."),
    ("application", "UUID of the application."),
    ("credential", "UUID of the credential; never the credential."),
    ("method", "Method; `OTHER` beyond the nine known ones."),
    ("protocol", "Protocol of the caller's side; `unknown` when no version could be read."),
    ("tls", "Whether the caller's side was TLS."),
    ("host", "Host without port, lower case."),
    ("host_cut", "`true` when the end of the host is missing."),
    ("path", "Path as it was matched and forwarded, without query."),
    ("path_cut", "`true` when the path was longer than 1,024 bytes."),
    ("query_bytes", "Length of the query, which is never written."),
    ("user_agent", "`User-Agent`, at most 256 bytes."),
    ("user_agent_cut", "`true` when its end is missing."),
    ("referer", "`Referer` without user, password, query and fragment, at most 256 bytes."),
    ("referer_cut", "`true` when its end is missing."),
    ("status", "Status that was sent; `null` when none was."),
    ("outcome", "How the request ended, a row of [outcomes](outcomes.md)."),
    ("kind", "`served`, `refusal`, `failure` or `client`."),
    ("detail", "What exactly the outcome was about, such as the class of a malformed head."),
    ("detail_cut", "`true` when its end is missing."),
    ("generation", "Generation that decided."),
    ("route", "The route; its id in hex once its generation is gone."),
    ("upstream", "The upstream; its id in hex once its generation is gone."),
    ("limit", "The limit that refused."),
    ("stage", "The stage that refused, a row of [stages](stages.md)."),
    ("shadow_refused", "Stages in shadow mode that would have refused."),
    ("endpoint", "Endpoint of the last attempt."),
    ("reused", "Whether a pooled connection was used for it."),
    ("attempts", "Attempts at the upstream."),
    ("duration_us", "From the first byte to the end."),
    ("own_us", "The gateway's own share of that."),
    ("upstream_us", "From the request being sent to the reply's head; when there was an attempt."),
    ("head_in_bytes", "Bytes of the request's head."),
    ("body_in_bytes", "Bytes of the request's body."),
    ("head_out_bytes", "Bytes of the reply's head."),
    ("body_out_bytes", "Bytes of the reply's body."),
    ("worker", "Worker that served it."),
];

/// Prints `docs/reference/access-log.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Access log\n\nOne JSON object a line for each request. Printed from `src/record/access_log.rs`; do not edit.\n\
         What does not apply is left out. Bytes that are no UTF-8 are written as U+FFFD, control characters escaped.\n\n\
         | key | meaning |\n|-|-|\n",
    );
    for (key, meaning) in FIELDS {
        page.push_str(&format!("| `{key}` | {meaning} |\n"));
    }
    page
}

/// How much of the caller's address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressPolicy {
    /// The whole address and port.
    #[default]
    Whole,
    /// The network alone: the first 24 bits of IPv4, 48 of IPv6; no port.
    Network,
    /// Nothing.
    Omit,
}

/// Appends a record's line, newline included, to `out`. At most 12 KiB: every byte of a text may take six.
pub fn write_line(out: &mut Vec<u8>, record: &Record<'_>, names: &dyn Names, addresses: AddressPolicy) {
    let mut line = Line { out };
    line.identity(record);
    line.caller(record, addresses);
    line.request(record);
    line.decision(record, names);
    line.exchange(record);
    line.out.extend_from_slice(b"}\n");
}

/// A line that is written. Keys are given as they stand in it, with what separates them, and need no escaping.
struct Line<'o> {
    out: &'o mut Vec<u8>,
}

impl Line<'_> {
    fn identity(&mut self, record: &Record<'_>) {
        let time = rfc_3339(record.started_unix_ms);
        self.quoted(br#"{"time":"#, &time);
        self.uuid(br#","request_id":"#, u128::from_be_bytes(record.request_id));
        self.hex(br#","trace_id":"#, record.trace_id);
        self.hex(br#","span_id":"#, record.span_id);
        self.hex(br#","linked_trace_id":"#, record.linked_trace_id);
    }

    fn caller(&mut self, record: &Record<'_>, addresses: AddressPolicy) {
        match addresses {
            AddressPolicy::Whole => {
                self.socket_address(br#","peer":"#, &record.peer);
                self.out.extend_from_slice(br#","client":""#);
                self.address(record.client);
                self.out.push(b'"');
            }
            AddressPolicy::Network => {
                self.quoted(br#","peer":"#, network(record.peer.ip()).as_bytes());
                self.quoted(br#","client":"#, network(record.client).as_bytes());
            }
            AddressPolicy::Omit => {}
        }
        self.uuid(br#","application":"#, record.application_id);
        self.uuid(br#","credential":"#, record.credential_id);
    }

    fn request(&mut self, record: &Record<'_>) {
        self.quoted(br#","method":"#, record.method.name().as_bytes());
        self.quoted(br#","protocol":"#, record.protocol.name().as_bytes());
        self.truth(br#","tls":"#, record.tls);
        self.cut_text(br#","host":"#, br#","host_cut":"#, record.host);
        self.cut_text(br#","path":"#, br#","path_cut":"#, record.path);
        if record.query_bytes > 0 {
            self.number(br#","query_bytes":"#, u64::from(record.query_bytes));
        }
        self.cut_text(br#","user_agent":"#, br#","user_agent_cut":"#, record.user_agent);
        let referer = without_userinfo(record.referer);
        self.cut_text(br#","referer":"#, br#","referer_cut":"#, Text { bytes: &referer, ..record.referer });
    }

    fn decision(&mut self, record: &Record<'_>, names: &dyn Names) {
        if record.status == 0 {
            self.out.extend_from_slice(br#","status":null"#);
        } else {
            self.number(br#","status":"#, u64::from(record.status));
        }
        self.quoted(br#","outcome":"#, record.outcome.name().as_bytes());
        self.quoted(br#","kind":"#, record.outcome.kind().name().as_bytes());
        self.cut_text(br#","detail":"#, br#","detail_cut":"#, record.detail);
        self.number(br#","generation":"#, record.generation);
        self.named(br#","route":"#, record.route_id, |id| names.route(id));
        self.named(br#","upstream":"#, record.upstream_id, |id| names.upstream(id));
        self.named(br#","limit":"#, record.limit_id, |id| names.limit(id));
        if record.stage != NO_STAGE {
            self.out.extend_from_slice(br#","stage":"#);
            self.stage(record.stage, names);
        }
        if record.shadow != 0 {
            self.out.extend_from_slice(br#","shadow_refused":"#);
            let stages = (0..32).filter(|stage| record.shadow & 1 << stage != 0);
            for (index, stage) in stages.enumerate() {
                self.out.push(if index == 0 { b'[' } else { b',' });
                self.stage(stage, names);
            }
            self.out.push(b']');
        }
    }

    fn exchange(&mut self, record: &Record<'_>) {
        if let Some(endpoint) = record.endpoint {
            self.socket_address(br#","endpoint":"#, &endpoint);
            self.truth(br#","reused":"#, record.reused);
        }
        self.number(br#","attempts":"#, u64::from(record.attempts));
        self.number(br#","duration_us":"#, record.total_us);
        self.number(br#","own_us":"#, u64::from(record.own_us));
        if record.attempts > 0 {
            self.number(br#","upstream_us":"#, u64::from(record.upstream_head_us));
        }
        self.number(br#","head_in_bytes":"#, u64::from(record.head_in_bytes));
        self.number(br#","body_in_bytes":"#, record.body_in_bytes);
        self.number(br#","head_out_bytes":"#, u64::from(record.head_out_bytes));
        self.number(br#","body_out_bytes":"#, record.body_out_bytes);
        self.number(br#","worker":"#, u64::from(record.worker));
    }

    /// A value that needs no escaping.
    fn quoted<const K: usize>(&mut self, key: &[u8; K], value: &[u8]) {
        self.out.extend_from_slice(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value);
        self.out.push(b'"');
    }

    /// Nothing for an empty one; a second key only where the end is missing.
    fn cut_text<const K: usize, const C: usize>(
        &mut self,
        key: &[u8; K],
        cut_key: &[u8; C],
        value: Text<'_>,
    ) {
        if !value.bytes.is_empty() {
            self.out.extend_from_slice(key);
            write_json_string(self.out, value.bytes);
        }
        if value.cut {
            self.truth(cut_key, true);
        }
    }

    fn number<const K: usize>(&mut self, key: &[u8; K], value: u64) {
        self.out.extend_from_slice(key);
        self.digits(value);
    }

    fn digits(&mut self, value: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn truth<const K: usize>(&mut self, key: &[u8; K], value: bool) {
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn socket_address<const K: usize>(&mut self, key: &[u8; K], address: &SocketAddr) {
        self.out.extend_from_slice(key);
        self.out.push(b'"');
        match address {
            SocketAddr::V4(v4) => {
                self.address(IpAddr::V4(*v4.ip()));
                self.out.push(b':');
                self.digits(u64::from(v4.port()));
            }
            // Writing into memory does not fail.
            SocketAddr::V6(v6) => drop(write!(self.out, "{v6}")),
        }
        self.out.push(b'"');
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                let [first, others @ ..] = v4.octets();
                self.digits(u64::from(first));
                for octet in others {
                    self.out.push(b'.');
                    self.digits(u64::from(octet));
                }
            }
            IpAddr::V6(v6) => drop(write!(self.out, "{v6}")),
        }
    }

    /// Nothing for zeros, which mean that there is none.
    fn hex<const K: usize, const N: usize>(&mut self, key: &[u8; K], value: [u8; N]) {
        if value != [0; N] {
            self.quoted(key, value.map(hex_pair).as_flattened());
        }
    }

    /// Nothing for zero. As RFC 9562 §4 writes it.
    fn uuid<const K: usize>(&mut self, key: &[u8; K], value: u128) {
        if value == 0 {
            return;
        }
        self.out.extend_from_slice(key);
        self.out.push(b'"');
        let digits = value.to_be_bytes().map(hex_pair);
        let (low, rest) = digits.as_flattened().split_at(8);
        self.out.extend_from_slice(low);
        let (fours, node) = rest.split_at(12);
        for four in fours.chunks_exact(4) {
            self.out.push(b'-');
            self.out.extend_from_slice(four);
        }
        self.out.push(b'-');
        self.out.extend_from_slice(node);
        self.out.push(b'"');
    }

    /// The name, or the id in hex where the generation that knew it is gone. Nothing for zero.
    fn named<'n, const K: usize>(&mut self, key: &[u8; K], id: u64, name: impl Fn(u64) -> Option<&'n str>) {
        if id == 0 {
            return;
        }
        match name(id) {
            Some(name) => {
                self.out.extend_from_slice(key);
                write_json_string(self.out, name.as_bytes());
            }
            None => self.hex(key, id.to_be_bytes()),
        }
    }

    fn stage(&mut self, stage: u8, names: &dyn Names) {
        match names.stage(stage) {
            Some(name) => write_json_string(self.out, name.as_bytes()),
            None => self.digits(u64::from(stage)),
        }
    }
}

/// A referer without user and password, which nobody should have sent (RFC 9110 §10.1.3).
fn without_userinfo(referer: Text<'_>) -> Cow<'_, [u8]> {
    let authority = referer.bytes.windows(2).position(|pair| pair == b"//").map_or(0, |at| at + 2);
    let (before, rest) = referer.bytes.split_at(authority);
    let host = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next().unwrap_or_default();
    if referer.cut && authority > 0 && host.len() == rest.len() {
        // The `@` may be in what is missing.
        return before.into();
    }
    match host.iter().rposition(|byte| *byte == b'@') {
        Some(at) => [before, rest.get(at + 1..).unwrap_or_default()].concat().into(),
        None => referer.bytes.into(),
    }
}

/// Writes any bytes as a JSON string (RFC 8259 §7): UTF-8 stays, bytes that are none become U+FFFD, and all control
/// characters are escaped, C1 and DEL as well, so that no terminal obeys a caller.
pub fn write_json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    // Nearly all: copied as they are. Looked at without leaving early, so many at a time.
    if bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(out, bytes);
    }
    out.push(b'"');
}

/// Whether a byte stands for itself in a JSON string, whatever is beside it.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
}

#[cold]
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    out.extend_from_slice(b"\\u");
                    // Control characters and these separators are all in the first plane.
                    out.extend_from_slice((u32::from(c) as u16).to_be_bytes().map(hex_pair).as_flattened());
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn hex_pair(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 })
}

fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{}/24", std::net::Ipv4Addr::from_bits(v4.to_bits() >> 8 << 8)),
        IpAddr::V6(v6) => format!("{}/48", std::net::Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80)),
    }
}

/// `2026-11-21T11:47:50.123Z` (RFC 3339 §5.6); years beyond 9999 are written as 9999.
fn rfc_3339(unix_ms: u64) -> [u8; 24] {
    let (year, month, day) = civil((unix_ms / 86_400_000).min(2_932_896));
    let ms = unix_ms % 86_400_000;
    let ([y1, y2], [y3, y4]) = (two_digits(year / 100), two_digits(year % 100));
    let ([mo1, mo2], [d1, d2]) = (two_digits(month), two_digits(day));
    let ([h1, h2], [mi1, mi2]) = (two_digits(ms / 3_600_000), two_digits(ms / 60_000 % 60));
    let ([s1, s2], [_, ms1]) = (two_digits(ms / 1_000 % 60), two_digits(ms % 1_000 / 100));
    let [ms2, ms3] = two_digits(ms % 100);
    [
        y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2, b'.', ms1,
        ms2, ms3, b'Z',
    ]
}

/// Of a number below 100.
fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day of a count of days since 1970-01-01 in the Gregorian calendar: eras of 400 years from
/// 0000-03-01, so that the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
