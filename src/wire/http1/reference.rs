//! A second, independent reader of HTTP/1.1 requests for differential tests: the grammar of RFC 9112 walked byte by byte by
//! a cursor. Slow, allocating, and sharing no line with the crate. The fuzz targets include this file, too.

/// One request as the reference reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Bytes up to the end of the head.
    pub(crate) head_len: usize,
    /// Bytes of the whole message.
    pub(crate) message_len: usize,
    /// The method.
    pub(crate) method: Vec<u8>,
    /// The target.
    pub(crate) target: Vec<u8>,
    /// Lower-case names and trimmed values.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content without framing.
    pub(crate) body: Vec<u8>,
}

/// Why there is no reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// More bytes might make a message of it.
    Incomplete,
    /// Nothing can.
    Malformed,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, Unread>;

impl Cursor<'_> {
    fn peek(&self) -> Read<u8> {
        self.bytes.get(self.at).copied().ok_or(Unread::Incomplete)
    }

    fn one(&mut self) -> Read<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn exactly(&mut self, expected: &[u8]) -> Read<()> {
        for byte in expected {
            if self.one()? != *byte {
                return Err(Unread::Malformed);
            }
        }
        Ok(())
    }

    fn some_of(&mut self, accepts: fn(u8) -> bool) -> Read<Vec<u8>> {
        let mut taken = Vec::new();
        while accepts(self.peek()?) {
            taken.push(self.one()?);
        }
        if taken.is_empty() { Err(Unread::Malformed) } else { Ok(taken) }
    }
}

fn tchar(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
        || byte.is_ascii_digit()
        || "!#$%&'*+-.^_`|~".bytes().any(|other| other == byte)
}

fn target_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// Reads the request that the bytes begin with.
pub(crate) fn read(bytes: &[u8]) -> Read<Reading> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.peek()? == b'\r' {
        cursor.exactly(b"\r\n")?;
    }
    let method = cursor.some_of(tchar)?;
    cursor.exactly(b" ")?;
    let target = cursor.some_of(target_char)?;
    cursor.exactly(b" HTTP/1.")?;
    let minor = cursor.one()?;
    if !minor.is_ascii_digit() {
        return Err(Unread::Malformed);
    }
    cursor.exactly(b"\r\n")?;
    let fields = field_lines(&mut cursor)?;
    let head_len = cursor.at;
    let body = content(&mut cursor, &fields, minor)?;
    Ok(Reading { head_len, message_len: cursor.at, method, target, fields, body })
}

/// Field lines up to and with the empty line.
fn field_lines(cursor: &mut Cursor<'_>) -> Read<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    loop {
        if cursor.peek()? == b'\r' {
            cursor.exactly(b"\r\n")?;
            return Ok(fields);
        }
        let name = cursor.some_of(tchar)?.to_ascii_lowercase();
        cursor.exactly(b":")?;
        let mut value = Vec::new();
        loop {
            match cursor.one()? {
                b'\r' => break,
                byte @ (b'\t' | b' '..=b'~' | 0x80..) => value.push(byte),
                _ => return Err(Unread::Malformed),
            }
        }
        cursor.exactly(b"\n")?;
        while matches!(value.last(), Some(b' ' | b'\t')) {
            value.pop();
        }
        let start = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        fields.push((name, value.split_off(start)));
    }
}

/// The content by RFC 9112 §6.3, refusing whatever two readers could take differently.
fn content(cursor: &mut Cursor<'_>, fields: &[(Vec<u8>, Vec<u8>)], minor: u8) -> Read<Vec<u8>> {
    let named = |name: &str| -> Vec<String> {
        fields
            .iter()
            .filter(|(field, _)| field == name.as_bytes())
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    let (codings, lengths) = (named("transfer-encoding"), named("content-length"));
    if !codings.is_empty() {
        let coding = codings.join(",");
        let sound = coding.eq_ignore_ascii_case("chunked") && lengths.is_empty() && minor != b'0';
        return if sound { chunks(cursor) } else { Err(Unread::Malformed) };
    }
    let Some(length) = lengths.first() else { return Ok(Vec::new()) };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    let length_value: u64 = length.parse().map_err(|_| Unread::Malformed)?;
    if !plain || lengths.iter().any(|other| other != length) {
        return Err(Unread::Malformed);
    }
    let mut body = Vec::new();
    while (body.len() as u64) < length_value {
        body.push(cursor.one()?);
    }
    Ok(body)
}

fn chunks(cursor: &mut Cursor<'_>) -> Read<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let digits = cursor.some_of(hex)?;
        let text = String::from_utf8_lossy(&digits).into_owned();
        let size = u64::from_str_radix(&text, 16).map_err(|_| Unread::Malformed)?;
        if cursor.peek()? == b';' {
            while cursor.peek()? != b'\r' {
                if !matches!(cursor.one()?, b'\t' | b' '..=b'~') {
                    return Err(Unread::Malformed);
                }
            }
        }
        cursor.exactly(b"\r\n")?;
        if size == 0 {
            field_lines(cursor)?;
            return Ok(body);
        }
        for _ in 0..size {
            body.push(cursor.one()?);
        }
        cursor.exactly(b"\r\n")?;
    }
}
