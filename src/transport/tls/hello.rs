//! Looks into a ClientHello before any connection state is made: whose certificate is asked for, and is it TLS at all.
//!
//! Pure. It reads the records' bytes and leaves them as they are: rustls reads the same bytes again
//! and is the authority on everything; here only the name is found that chooses its configuration.

use crate::limits::{CLIENT_HELLO_BYTES_MAX, RECORD_HEADER_BYTES, RECORD_PLAIN_BYTES_MAX};

use super::failure::TlsFailure;

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The ClientHello is not complete.
    Partial,
    /// A complete ClientHello and the host that it names, in lower case.
    Complete(Option<Box<str>>),
}

/// Methods that begin an HTTP request in plain text.
const HTTP_STARTS: [&[u8]; 10] =
    [b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "];

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Looks at all bytes that came so far.
///
/// # Errors
/// [`TlsFailure::PlainHttp`], [`TlsFailure::NotTls`], [`TlsFailure::Malformed`] and
/// [`TlsFailure::HandshakeTooLarge`].
pub(crate) fn peek(bytes: &[u8]) -> Result<Hello, TlsFailure> {
    let Some(first) = bytes.first() else { return Ok(Hello::Partial) };
    if *first != HANDSHAKE {
        return not_tls(bytes);
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(TlsFailure::NotTls);
    }
    // Nearly always the whole message lies in the first record, and nothing is copied.
    let Some((fragment, rest)) = record(bytes)? else { return Ok(Hello::Partial) };
    if let Some(body) = message(fragment)? {
        return parse(body);
    }
    let mut joined = fragment.to_vec();
    let mut rest = rest;
    while let Some((fragment, after)) = record(rest)? {
        joined.extend_from_slice(fragment);
        rest = after;
        if let Some(body) = message(&joined)? {
            return parse(body);
        }
    }
    Ok(Hello::Partial)
}

fn not_tls(bytes: &[u8]) -> Result<Hello, TlsFailure> {
    let start = bytes.get(..4).unwrap_or(bytes);
    if !HTTP_STARTS.iter().any(|method| method.starts_with(start)) {
        return Err(TlsFailure::NotTls);
    }
    if start.len() == 4 { Err(TlsFailure::PlainHttp) } else { Ok(Hello::Partial) }
}

/// A payload and what follows it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// The first handshake record.
fn record(bytes: &[u8]) -> Result<Option<Cut<'_>>, TlsFailure> {
    let Some((&[kind, major, _, high, low], rest)) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != HANDSHAKE || major != 3 || length == 0 {
        return Err(TlsFailure::Malformed);
    }
    if length > RECORD_PLAIN_BYTES_MAX {
        return Err(TlsFailure::HandshakeTooLarge);
    }
    Ok(rest.split_at_checked(length))
}

/// The body of the ClientHello at the front, once it is complete.
fn message(bytes: &[u8]) -> Result<Option<&[u8]>, TlsFailure> {
    let Some((&[kind, high, middle, low], rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    if kind != CLIENT_HELLO {
        return Err(TlsFailure::Malformed);
    }
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > CLIENT_HELLO_BYTES_MAX {
        return Err(TlsFailure::HandshakeTooLarge);
    }
    Ok(rest.get(..length))
}

fn parse(body: &[u8]) -> Result<Hello, TlsFailure> {
    let mut reader = Reader(body);
    name(&mut reader).map(Hello::Complete).ok_or(TlsFailure::Malformed)
}

/// RFC 6066 §3. `None`: it cannot be read.
fn name(reader: &mut Reader<'_>) -> Option<Option<Box<str>>> {
    match extension(reader, SERVER_NAME)? {
        Some(body) => host(&mut Reader(body)),
        None => Some(None),
    }
}

/// Whether the ClientHello at the front of the bytes of a handshake over QUIC has an extension of this number; such bytes are in no
/// records (RFC 9001 §4). `None`: it is not complete, or cannot be read.
pub(crate) fn has_extension(messages: &[u8], kind: u16) -> Option<bool> {
    let body = message(messages).ok()??;
    extension(&mut Reader(body), kind).map(|found| found.is_some())
}

/// The body of the extension of this number (RFC 8446 §4.1.2). `None`: the message cannot be read.
fn extension<'a>(reader: &mut Reader<'a>, wanted: u16) -> Option<Option<&'a [u8]>> {
    reader.take(2 + 32)?;
    let session = usize::from(reader.u8()?);
    reader.take(session)?;
    let suites = usize::from(reader.u16()?);
    reader.take(suites)?;
    let compressions = usize::from(reader.u8()?);
    reader.take(compressions)?;
    if reader.0.is_empty() {
        return Some(None);
    }
    let length = usize::from(reader.u16()?);
    let mut extensions = Reader(reader.take(length)?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = usize::from(extensions.u16()?);
        let body = extensions.take(length)?;
        if kind == wanted {
            return Some(Some(body));
        }
    }
    Some(None)
}

fn host(list: &mut Reader<'_>) -> Option<Option<Box<str>>> {
    let length = usize::from(list.u16()?);
    let mut names = Reader(list.take(length)?);
    if names.u8()? != HOST_NAME {
        return Some(None);
    }
    let length = usize::from(names.u16()?);
    let name = std::str::from_utf8(names.take(length)?).ok()?;
    if name.is_empty() {
        return None;
    }
    // An address is no host name (RFC 6066 §3); rustls ignores it too.
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Some(None);
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    Some(Some(name.to_ascii_lowercase().into_boxed_str()))
}

/// Takes fields off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(host: Option<&str>) -> Vec<u8> {
        let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
        if let Some(host) = host {
            let length = u16::try_from(host.len()).unwrap();
            extensions.extend_from_slice(&[0, 0]);
            extensions.extend_from_slice(&(length + 5).to_be_bytes());
            extensions.extend_from_slice(&(length + 3).to_be_bytes());
            extensions.push(0);
            extensions.extend_from_slice(&length.to_be_bytes());
            extensions.extend_from_slice(host.as_bytes());
        }
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
        body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&extensions);
        let mut message = vec![1, 0];
        message.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend_from_slice(&body);
        message
    }

    fn records(message: &[u8], fragment: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in message.chunks(fragment) {
            bytes.extend_from_slice(&[22, 3, 1]);
            bytes.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    fn named(name: &str) -> Hello {
        Hello::Complete(Some(name.into()))
    }

    #[test]
    fn the_name_is_found_however_the_message_is_cut_into_records() {
        let message = hello(Some("Shop.Example.COM"));
        for fragment in [1, 2, 3, 4, 5, 50, 16_384] {
            let bytes = records(&message, fragment);
            assert_eq!(peek(&bytes), Ok(named("shop.example.com")), "fragments of {fragment}");
            for end in 0..bytes.len() {
                assert_eq!(peek(&bytes[..end]), Ok(Hello::Partial), "fragments of {fragment}, {end} bytes");
            }
        }
    }

    #[test]
    fn an_extension_is_looked_for_in_a_whole_message() {
        let message = hello(Some("a.b"));
        for (kind, there) in [(43, true), (SERVER_NAME, true), (57, false)] {
            assert_eq!(has_extension(&message, kind), Some(there), "{kind}");
            for end in 0..message.len() {
                assert_eq!(has_extension(&message[..end], kind), None, "{kind}, {end} bytes");
            }
        }
        assert_eq!(has_extension(&[2, 0, 0, 0], 43), None);
    }

    #[test]
    fn no_name_an_address_and_a_trailing_dot() {
        assert_eq!(peek(&records(&hello(None), 999)), Ok(Hello::Complete(None)));
        assert_eq!(peek(&records(&hello(Some("127.0.0.1")), 999)), Ok(Hello::Complete(None)));
        assert_eq!(peek(&records(&hello(Some("a.b.")), 999)), Ok(named("a.b")));
    }

    #[test]
    fn plain_http_is_told_from_garbage() {
        assert_eq!(peek(b"GET / HTTP/1.1\r\n"), Err(TlsFailure::PlainHttp));
        assert_eq!(peek(b"GE"), Ok(Hello::Partial));
        assert_eq!(peek(b"SSH-2.0-x"), Err(TlsFailure::NotTls));
        assert_eq!(peek(&[0x80, 0x2e, 1, 0, 2]), Err(TlsFailure::NotTls));
        assert_eq!(peek(&[22, 2, 0, 0, 1]), Err(TlsFailure::NotTls));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(peek(&[22, 3, 1, 0x40, 1, 1]), Err(TlsFailure::HandshakeTooLarge));
        assert_eq!(peek(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), Err(TlsFailure::HandshakeTooLarge));
        assert_eq!(peek(&[22, 3, 1, 0, 0]), Err(TlsFailure::Malformed));
        assert_eq!(peek(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), Err(TlsFailure::Malformed));
        let mut cut = hello(Some("a.b"));
        let end = cut.len() - 1;
        cut.truncate(end);
        cut[3] -= 1;
        assert_eq!(peek(&records(&cut, 999)), Err(TlsFailure::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut framed = vec![22, 3, 1, 0, u8::try_from(bytes.len()).unwrap_or(200), 1, 0, 0];
            framed.extend_from_slice(&bytes);
            let _ = peek(&framed);
            let _ = peek(&bytes);
        }
    }
}
