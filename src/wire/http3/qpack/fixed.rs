//! The static table (RFC 9204, appendix A) and how a name is found in it.

/// Name and value of each row; the index is the place.
pub(crate) static ROWS: [(&str, &str); 99] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// Slots of the look-up by name.
const SLOTS: usize = 256;

/// No row.
const NONE: u8 = u8::MAX;

/// The first row of the name that hashes to this slot, or to one shortly before it.
static BY_NAME: [u8; SLOTS] = by_name();

/// The next row of the same name.
static NEXT: [u8; ROWS.len()] = next();

#[inline]
const fn slot(name: &[u8]) -> usize {
    let [first, .., last] = name else { return 0 };
    let middle = if let Some((half, _)) = name.split_at_checked(name.len() / 2 + 1)
        && let [.., byte] = half
    {
        *byte
    } else {
        0
    };
    (name.len() * 7 + *first as usize * 13 + *last as usize * 47 + middle as usize * 5) & (SLOTS - 1)
}

const fn equal(one: &[u8], two: &[u8]) -> bool {
    if one.len() != two.len() {
        return false;
    }
    let (mut one, mut two) = (one, two);
    while let ([a, one_rest @ ..], [b, two_rest @ ..]) = (one, two) {
        if *a != *b {
            return false;
        }
        (one, two) = (one_rest, two_rest);
    }
    true
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn by_name() -> [u8; SLOTS] {
    let mut table = [NONE; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let name = ROWS[row].0.as_bytes();
        let mut at = slot(name);
        while table[at] != NONE && !equal(ROWS[table[at] as usize].0.as_bytes(), name) {
            at = (at + 1) & (SLOTS - 1);
        }
        if table[at] == NONE {
            table[at] = row as u8;
        }
        row += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn next() -> [u8; ROWS.len()] {
    let mut table = [NONE; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        let mut other = row + 1;
        while other < ROWS.len() && table[row] == NONE {
            if equal(ROWS[row].0.as_bytes(), ROWS[other].0.as_bytes()) {
                table[row] = other as u8;
            }
            other += 1;
        }
        row += 1;
    }
    table
}

/// What the table has of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Name and value, at this index.
    Field(u8),
    /// The name alone.
    Name(u8),
    /// Nothing.
    Nothing,
}

/// Name and value at an index.
#[inline]
pub(crate) fn row(index: u64) -> Option<(&'static str, &'static str)> {
    ROWS.get(usize::try_from(index).ok()?).copied()
}

/// Looks a field up; `name` is in lower case.
#[inline]
pub(crate) fn find(name: &[u8], value: &[u8]) -> Found {
    let mut at = slot(name);
    let first = loop {
        let index = BY_NAME.get(at).copied().unwrap_or(NONE);
        match ROWS.get(index as usize) {
            None => return Found::Nothing,
            Some((known, _)) if known.as_bytes() == name => break index,
            Some(_) => at = (at + 1) & (SLOTS - 1),
        }
    };
    let mut index = first;
    while let Some((_, known)) = ROWS.get(index as usize) {
        if known.as_bytes() == value {
            return Found::Field(index);
        }
        index = NEXT.get(index as usize).copied().unwrap_or(NONE);
    }
    Found::Name(first)
}

#[cfg(test)]
mod tests {
    use super::{BY_NAME, Found, NONE, ROWS, find, row};

    #[test]
    fn each_row_is_found_by_name_and_value_and_by_name() {
        for (index, (name, value)) in ROWS.iter().enumerate() {
            assert_eq!(find(name.as_bytes(), value.as_bytes()), Found::Field(index as u8), "{name}: {value}");
            let first = ROWS.iter().position(|(other, _)| other == name).unwrap() as u8;
            assert_eq!(find(name.as_bytes(), b"\x01no value of the table"), Found::Name(first), "{name}");
        }
        for name in ["", "x", ":statu", "x-ringway", "content-typf"] {
            assert_eq!(find(name.as_bytes(), b""), Found::Nothing, "{name}");
        }
        assert!(BY_NAME.iter().filter(|slot| **slot == NONE).count() > 128, "a look-up ends soon");
    }

    #[test]
    fn rows_stand_where_the_rfc_has_them() {
        for (index, name, value) in [
            (0, ":authority", ""),
            (1, ":path", "/"),
            (15, ":method", "CONNECT"),
            (17, ":method", "GET"),
            (23, ":scheme", "https"),
            (24, ":status", "103"),
            (25, ":status", "200"),
            (46, "content-type", "application/json"),
            (63, ":status", "100"),
            (71, ":status", "500"),
            (72, "accept-language", ""),
            (90, "origin", ""),
            (98, "x-frame-options", "sameorigin"),
        ] {
            assert_eq!(row(index), Some((name, value)), "{index}");
        }
        assert_eq!(row(99), None);
    }
}
