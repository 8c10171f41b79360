//! Authorities: `host [":" port]` (RFC 3986 §3.2.2, RFC 9110 §4.2).

use std::net::Ipv6Addr;

use crate::lanes;
use crate::limits::HOST_BYTES_MAX;

/// A valid authority's parts, as lengths of what was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// Bytes of the host without a trailing dot; the host begins the authority.
    pub host_len: usize,
    /// Bytes of host and port without a colon that no port follows.
    pub len: usize,
    /// The port.
    pub port: Option<u16>,
    /// It may have capital letters.
    pub(crate) has_capitals: bool,
}

/// Reads an authority without user information. The host is an IPv6 address in brackets, or a name of `unreserved`
/// bytes (an IPv4 address is one) with no empty label: narrower than RFC 3986's reg-name, which also allows
/// sub-delims and percent-encoding that no DNS name has.
#[must_use]
pub fn parse_authority(bytes: &[u8]) -> Option<Authority> {
    if bytes.first() == Some(&b'[') {
        let end = bytes.iter().position(|byte| *byte == b']')?;
        let address = std::str::from_utf8(bytes.get(1..end)?).ok()?;
        address.parse::<Ipv6Addr>().ok()?;
        return with_port(bytes, end + 1, end + 1);
    }
    let (name_len, has_capitals) = name(bytes)?;
    let rooted = bytes.get(name_len.checked_sub(1)?) == Some(&b'.');
    let authority = with_port(bytes, name_len - usize::from(rooted), name_len)?;
    Some(Authority { has_capitals, ..authority })
}

/// The length of the name that these bytes begin with, and whether it has capital letters. A dot is `unreserved`; it may not follow
/// another one, nor begin the name.
fn name(bytes: &[u8]) -> Option<(usize, bool)> {
    let (mut len, mut has_capitals) = (0, false);
    // Whether the byte before is a dot, or as good as one.
    let mut dotted = 1;
    loop {
        let chunk = lanes::first(bytes.get(len..)?);
        let good = lanes::unreserved(&chunk).trailing_ones();
        let dots = lanes::each_of(&chunk, b'.') & !(u32::MAX << good);
        if dots & (dots << 1 | dotted) != 0 {
            return None;
        }
        dotted = dots >> 15;
        has_capitals |= lanes::capitals(&chunk) != 0;
        len += good as usize;
        if good < 16 {
            return (len <= HOST_BYTES_MAX).then_some((len, has_capitals));
        }
    }
}

fn with_port(bytes: &[u8], host_len: usize, name_len: usize) -> Option<Authority> {
    match bytes.get(name_len..)? {
        [] | [b':'] => Some(Authority { host_len, len: name_len, port: None, has_capitals: true }),
        [b':', digits @ ..] => {
            let port = crate::syntax::decimal(digits, 5).and_then(|port| u16::try_from(port).ok())?;
            Some(Authority { host_len, len: bytes.len(), port: Some(port), has_capitals: true })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_authority;

    fn parts(text: &str) -> Option<(&str, &str, Option<u16>)> {
        parse_authority(text.as_bytes()).map(|a| (&text[..a.host_len], &text[..a.len], a.port))
    }

    #[test]
    fn names_addresses_and_ports_are_read() {
        assert_eq!(parts("example.com"), Some(("example.com", "example.com", None)));
        assert_eq!(parts("example.com.:80"), Some(("example.com", "example.com.:80", Some(80))));
        assert_eq!(parts("127.0.0.1:8080"), Some(("127.0.0.1", "127.0.0.1:8080", Some(8080))));
        assert_eq!(parts("[::1]:443"), Some(("[::1]", "[::1]:443", Some(443))));
        assert_eq!(parts("[2001:db8::1]"), Some(("[2001:db8::1]", "[2001:db8::1]", None)));
        assert_eq!(parts("a_b-c~:"), Some(("a_b-c~", "a_b-c~", None)));
    }

    #[test]
    fn a_byte_that_no_name_holds_is_found_in_any_place() {
        for len in 1..40 {
            let name = "a".repeat(len);
            assert_eq!(parts(&name), Some((&name[..], &name[..], None)));
            assert_eq!(
                parts(&format!("{name}:80")).map(|(host, _, port)| (host.len(), port)),
                Some((len, Some(80)))
            );
            assert_eq!(
                parts(&format!("{name}.")).map(|(host, all, _)| (host.len(), all.len())),
                Some((len, len + 1))
            );
            assert!(parts(&format!("{name}.b")).is_some());
            for bad in ["/", "..", "..b", "@b", "\0", ":b"] {
                assert_eq!(parts(&format!("{name}{bad}")), None, "{len} {bad}");
            }
        }
        for capital in ["A", "Z", "aaaaaaaaaaaaaaaaaaaB", "[::A]"] {
            assert!(parse_authority(capital.as_bytes()).is_some_and(|authority| authority.has_capitals));
        }
        assert!(parse_authority(b"a-z09.example:80").is_some_and(|authority| !authority.has_capitals));
    }

    #[test]
    fn whatever_else_is_refused() {
        for bad in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a b",
            "a@b",
            "user:pass@b",
            "a:b",
            "a:99999",
            "a:80:80",
            "a,b",
            "a/b",
            "a?b",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "::1",
            "[::1%25eth0]",
            "a%2eb",
            "a\\b",
            "é",
            "a:+80",
            "a:000080",
            "*",
        ] {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
        assert_eq!(parts(&"a".repeat(256)), None);
    }
}
