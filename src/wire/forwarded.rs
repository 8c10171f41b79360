//! `Forwarded` (RFC 7239), `X-Forwarded-For` and `Via`: what we add, and whose address we believe.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::head::Version;
use crate::syntax::{is_token, list_members, trim};

/// Hops of a forwarding field that are looked at.
pub const HOPS_MAX: usize = 32;

/// How the caller reached us.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The caller.
    pub address: IpAddr,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority that it asked for; empty: unknown.
    pub host: &'a [u8],
}

/// Writes the values of a list field joined by `, `, and a comma after them where there are any.
fn write_before<'a>(out: &mut Vec<u8>, existing: impl Iterator<Item = &'a [u8]>) {
    for value in existing.filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// Writes the value of `Forwarded`: what is there already and may be kept, then our element (RFC 7239 §4).
pub fn write_forwarded<'a>(out: &mut Vec<u8>, existing: impl Iterator<Item = &'a [u8]>, hop: &Hop<'_>) {
    write_before(out, existing);
    match hop.address {
        IpAddr::V4(_) => {
            out.extend_from_slice(b"for=");
            write_address(out, hop.address);
        }
        IpAddr::V6(_) => {
            out.extend_from_slice(b"for=\"[");
            write_address(out, hop.address);
            out.extend_from_slice(b"]\"");
        }
    }
    match hop.scheme {
        "http" => out.extend_from_slice(b";proto=http"),
        "https" => out.extend_from_slice(b";proto=https"),
        other => {
            out.extend_from_slice(b";proto=");
            out.extend_from_slice(other.as_bytes());
        }
    }
    write_host(out, hop.host);
}

/// Appends what an element says of the authority that was asked for; nothing where that is unknown.
pub(crate) fn write_host(out: &mut Vec<u8>, host: &[u8]) {
    if !host.is_empty() {
        out.extend_from_slice(b";host=");
        write_word(out, host);
    }
}

/// A token as it is, anything else as a quoted string.
fn write_word(out: &mut Vec<u8>, word: &[u8]) {
    if is_token(word) {
        out.extend_from_slice(word);
        return;
    }
    out.push(b'"');
    if memchr::memchr2(b'"', b'\\', word).is_none() {
        out.extend_from_slice(word);
    } else {
        for byte in word {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
    }
    out.push(b'"');
}

/// Writes the value of `X-Forwarded-For`: what is there already and may be kept, then the caller's address.
pub fn write_x_forwarded_for<'a>(
    out: &mut Vec<u8>,
    existing: impl Iterator<Item = &'a [u8]>,
    address: IpAddr,
) {
    write_before(out, existing);
    write_address(out, address);
}

/// An address as text. IPv4 is written digit by digit, in one copy of constant size: `fmt` would cost as much as parsing a head.
fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let (text, len) = ipv4_text(address);
            let end = out.len() + len;
            out.extend_from_slice(&text);
            out.truncate(end);
        }
        // A vector takes every write.
        IpAddr::V6(address) => write!(out, "{address}").unwrap_or_default(),
    }
}

/// The text and how much of it counts.
fn ipv4_text(address: Ipv4Addr) -> ([u8; 16], usize) {
    let mut text = [b'.'; 16];
    let mut places = text.iter_mut();
    let mut len = 0;
    let mut put = |byte| {
        if let Some(place) = places.next() {
            *place = byte;
            len += 1;
        }
    };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            put(b'.');
        }
        if octet >= 100 {
            put(b'0' + octet / 100);
        }
        if octet >= 10 {
            put(b'0' + octet / 10 % 10);
        }
        put(b'0' + octet % 10);
    }
    (text, len)
}

/// Writes the value of `Via` (RFC 9110 §7.6.3).
pub fn write_via<'a>(
    out: &mut Vec<u8>,
    existing: impl Iterator<Item = &'a [u8]>,
    version: Version,
    pseudonym: &str,
) {
    write_before(out, existing);
    out.extend_from_slice(version.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(pseudonym.as_bytes());
}

/// How often `Via` names us: a loop's length.
pub fn via_count<'a>(values: impl Iterator<Item = &'a [u8]>, pseudonym: &str) -> usize {
    values
        .flat_map(list_members)
        .filter(|member| {
            let mut words = member.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            words.nth(1) == Some(pseudonym.as_bytes())
        })
        .count()
}

/// The caller's address: from the peer backwards through `X-Forwarded-For`, as long as the hop that told us is trusted. A
/// member that is no address ends the walk.
pub fn client_address<'a, Values>(
    peer: IpAddr,
    x_forwarded_for: Values,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr
where
    Values: DoubleEndedIterator<Item = &'a [u8]>,
{
    let mut client = peer;
    let hops = x_forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = parse_node(trim(hop)) else { break };
        client = address;
    }
    client
}

/// The address of a node: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
#[must_use]
pub fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok().filter(|text| text.len() <= 64)?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{
        Hop, client_address, parse_node, via_count, write_forwarded, write_via, write_x_forwarded_for,
    };
    use crate::Version;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn forwarded_quotes_what_is_no_token() {
        let hop = Hop { address: ip("192.0.2.60"), scheme: "https", host: b"a.example" };
        assert_eq!(
            text(|out| write_forwarded(out, std::iter::empty(), &hop)),
            "for=192.0.2.60;proto=https;host=a.example"
        );
        let hop = Hop { address: ip("2001:db8::1"), scheme: "http", host: b"a.example:8080" };
        assert_eq!(
            text(|out| write_forwarded(out, [&b"for=x"[..], b""].into_iter(), &hop)),
            "for=x, for=\"[2001:db8::1]\";proto=http;host=\"a.example:8080\""
        );
    }

    #[test]
    fn lists_are_continued() {
        let before = || [&b"1.1.1.1"[..], b"2.2.2.2, 3.3.3.3"].into_iter();
        assert_eq!(
            text(|out| write_x_forwarded_for(out, before(), ip("::1"))),
            "1.1.1.1, 2.2.2.2, 3.3.3.3, ::1"
        );
        for address in ["0.0.0.0", "255.255.255.255", "10.200.3.99", "100.9.90.1"] {
            assert_eq!(text(|out| write_x_forwarded_for(out, [].into_iter(), ip(address))), address);
        }
        let via = text(|out| write_via(out, [&b"1.0 fred"[..]].into_iter(), Version::Http11, "ringway"));
        assert_eq!(via, "1.0 fred, 1.1 ringway");
        assert_eq!(via_count([via.as_bytes()].into_iter(), "ringway"), 1);
        assert_eq!(via_count([via.as_bytes()].into_iter(), "fre"), 0);
    }

    #[test]
    fn only_what_a_trusted_hop_says_is_believed() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let fields = || [&b"6.6.6.6, 1.2.3.4:99"[..], b"10.0.0.9"].into_iter();
        assert_eq!(client_address(ip("10.0.0.1"), fields(), trusted), ip("1.2.3.4"));
        assert_eq!(client_address(ip("9.9.9.9"), fields(), trusted), ip("9.9.9.9"));
        let junk = [&b"1.2.3.4, unknown, 10.0.0.9"[..]].into_iter();
        assert_eq!(client_address(ip("10.0.0.1"), junk, trusted), ip("10.0.0.9"));
    }

    #[test]
    fn nodes_are_addresses_with_or_without_port() {
        for (node, address) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:5", "1.2.3.4"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:5", "::1"),
        ] {
            assert_eq!(parse_node(node.as_bytes()), Some(ip(address)));
        }
        for bad in ["", "unknown", "_hidden", "1.2.3", "[1.2.3.4", "a:1"] {
            assert_eq!(parse_node(bad.as_bytes()), None, "{bad}");
        }
    }
}
