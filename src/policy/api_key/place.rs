//! Credentials in queries and cookies: finding them, and writing what is left without them.
//!
//! Both readers are told apart from an upstream's only by being simpler, so that nothing that an upstream may take
//! for the credential is overlooked: a name is compared after percent-decoding in a query, quotes around a cookie's
//! value are no part of it, and who asks gets every occurrence.

use std::borrow::Cow;

/// The values of all parameters of this name in a query, decoded.
pub fn query_values<'a>(query: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = Cow<'a, [u8]>> {
    pairs(query, b'&').filter(move |(key, _)| is_decoded(key, name)).map(|(_, value)| decoded(value))
}

/// Appends the query without the parameters of these names. `None`: nothing is left, so the `?` goes too.
///
/// What is left is what came, byte by byte and in order.
#[must_use]
pub fn query_without(query: &[u8], names: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let hidden = |pair: &[u8]| names.iter().any(|name| is_decoded(split_pair(pair).0, name));
    let mut left = query.split(|byte| *byte == b'&').filter(|pair| !hidden(pair));
    out.extend_from_slice(left.next()?);
    for pair in left {
        out.push(b'&');
        out.extend_from_slice(pair);
    }
    Some(())
}

/// The values of all cookies of this name in one `Cookie` line (RFC 6265 §4.2.1), without quotes.
pub fn cookie_values<'a>(line: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    pairs(line, b';').filter(move |(key, _)| key.trim_ascii() == name).map(|(_, value)| unquoted(value.trim_ascii()))
}

/// Appends one `Cookie` line without the cookies of these names, the lines joined. `None`: no cookie is left.
#[must_use]
pub fn cookies_without<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    names: &[&[u8]],
    out: &mut Vec<u8>,
) -> Option<()> {
    let start = out.len();
    let cookies = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    for cookie in cookies.filter(|cookie| !cookie.is_empty()) {
        if names.contains(&split_pair(cookie).0.trim_ascii()) {
            continue;
        }
        if out.len() > start {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(cookie);
    }
    (out.len() > start).then_some(())
}

fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(move |byte| *byte == separator).map(split_pair)
}

/// Name and value at the first `=`; all of it is the name where there is none.
fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Percent-decoded bytes; a `%` that no two digits follow stands for itself, and so does `+`.
fn decode(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', rest.get(1..)?),
            },
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn is_decoded(text: &[u8], plain: &[u8]) -> bool {
    text == plain || (text.contains(&b'%') && decode(text).eq(plain.iter().copied()))
}

fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'%') { Cow::Owned(decode(text).collect()) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(query: &str, names: &[&str]) -> Option<String> {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let mut out = Vec::new();
        query_without(query.as_bytes(), &names, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    fn cookies(lines: &[&str], names: &[&str]) -> Option<String> {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let mut out = b"kept".to_vec();
        cookies_without(lines.iter().map(|line| line.as_bytes()), &names, &mut out)
            .map(|()| String::from_utf8(out).unwrap().strip_prefix("kept").unwrap().to_owned())
    }

    #[test]
    fn a_hidden_parameter_leaves_the_others_as_they_came() {
        for (from, names, to) in [
            ("key=x", &["key"][..], None),
            ("key", &["key"], None),
            ("a=1&key=x&b=2", &["key"], Some("a=1&b=2")),
            ("key=x&a=%41&&b", &["key"], Some("a=%41&&b")),
            ("a=1&key=x", &["key"], Some("a=1")),
            ("a=1&%6Bey=x&k%65y=y&KEY=z", &["key"], Some("a=1&KEY=z")),
            ("a=key=x", &["key"], Some("a=key=x")),
            ("x=1&y=2&z=3", &["x", "z"], Some("y=2")),
            ("x=1&y=2", &["x", "y"], None),
            ("", &["key"], Some("")),
            ("a%=1&%zzkey=1", &["key"], Some("a%=1&%zzkey=1")),
        ] {
            assert_eq!(query(from, names).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn a_hidden_cookie_leaves_the_others() {
        for (from, names, to) in [
            (&["key=x"][..], &["key"][..], None),
            (&["a=1; key=x; b=2"], &["key"], Some("a=1; b=2")),
            (&["a=1;key=x;;b=2 ; "], &["key"], Some("a=1; b=2")),
            (&["a=1", "key=x; b=2"], &["key"], Some("a=1; b=2")),
            (&["key=x", "key=y"], &["key"], None),
            (&["Key=x; a=\"q;\""], &["key"], Some("Key=x; a=\"q; \"")),
            (&["key =x; a=1"], &["key"], Some("a=1")),
            (&[""], &["key"], None),
        ] {
            assert_eq!(cookies(from, names).as_deref(), to, "{from:?}");
        }
    }

    #[test]
    fn values_are_found_wherever_they_stand() {
        let found = |query: &str| {
            let values = query_values(query.as_bytes(), b"key");
            values.map(|value| String::from_utf8(value.into_owned()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(found("key=a&b=2&k%65y=%61%2Bc+d&key"), ["a", "a+c+d", ""]);
        assert_eq!(found("keys=1&xkey=2"), [""; 0]);
        let cookie = |line: &str| {
            let values = cookie_values(line.as_bytes(), b"key");
            values.map(|value| String::from_utf8(value.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(cookie("a=1; key=\"x y\" ;key=z=w; keys=1"), ["x y", "z=w"]);
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(b'&'), Just(b'='), Just(b'%'), Just(b';'), Just(b' '), Just(b'k'), Just(b'6'), Just(b'B'), Just(b'"')
        ];
        proptest::collection::vec(byte, 0..24)
    }

    proptest! {
        #[test]
        fn what_was_hidden_is_not_found_again(text in text()) {
            let mut out = Vec::new();
            if query_without(&text, &[b"k"], &mut out).is_some() {
                prop_assert_eq!(query_values(&out, b"k").count(), 0);
                let others = |query: &[u8]| {
                    let left = query.split(|byte| *byte == b'&').filter(|pair| query_values(pair, b"k").count() == 0);
                    left.map(<[u8]>::to_vec).collect::<Vec<_>>()
                };
                prop_assert_eq!(others(&text), others(&out));
            }
            let mut out = Vec::new();
            if cookies_without(std::iter::once(text.as_slice()), &[b"k"], &mut out).is_some() {
                prop_assert_eq!(cookie_values(&out, b"k").count(), 0);
            }
        }

        #[test]
        fn nothing_hidden_leaves_a_query_alone(text in text()) {
            let mut out = Vec::new();
            prop_assert!(query_without(&text, &[b"absent"], &mut out).is_some());
            prop_assert_eq!(out, text);
        }
    }
}
