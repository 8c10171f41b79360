//! Byte classes of the grammars (RFC 9110 §5.6, RFC 3986 §2), one table look-up per byte.

use crate::lanes::controls;

/// A `tchar` (RFC 9110 §5.6.2).
const TOKEN: u8 = 1;
/// A byte that a field value may hold: HTAB, SP, VCHAR, obs-text.
const VALUE: u8 = 2;
/// A byte that a request target may hold: VCHAR but `#`.
const TARGET: u8 = 4;
/// `unreserved` (RFC 3986 §2.3), which is also what a host name may hold.
const UNRESERVED: u8 = 8;
/// `_`, which some endpoints take for `-` in a field name.
const UNDERSCORE: u8 = 16;

static CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let alphanumeric = byte.is_ascii_alphanumeric();
        if alphanumeric
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        {
            table[at] |= TOKEN;
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            table[at] |= VALUE;
        }
        if byte > b' ' && byte < 0x7f && byte != b'#' {
            table[at] |= TARGET;
        }
        if alphanumeric || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            table[at] |= UNRESERVED;
        }
        if byte == b'_' {
            table[at] |= UNDERSCORE;
        }
        at += 1;
    }
    table
}

#[inline]
fn class(byte: u8) -> u8 {
    CLASSES.get(byte as usize).copied().unwrap_or(0)
}

#[inline]
pub(crate) fn is_tchar(byte: u8) -> bool {
    class(byte) & TOKEN != 0
}

#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    class(byte) & VALUE != 0
}

#[inline]
pub(crate) fn is_target_byte(byte: u8) -> bool {
    class(byte) & TARGET != 0
}

#[inline]
pub(crate) fn is_unreserved(byte: u8) -> bool {
    class(byte) & UNRESERVED != 0
}

/// A token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_tchar(*byte))
}

/// What a field's name is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// No token.
    Bad,
    /// A token without `_`.
    Plain,
    /// A token with `_`.
    Underscored,
}

/// As [`is_token`], and whether there is a `_` in it: one look at each byte tells both.
#[inline(never)]
pub(crate) fn spelling(name: &[u8]) -> Spelling {
    let (every, any) = name.iter().fold((TOKEN, 0), |(every, any), byte| {
        let class = class(*byte);
        (every & class, any | class)
    });
    match (name.is_empty() || every & TOKEN == 0, any & UNDERSCORE != 0) {
        (true, _) => Spelling::Bad,
        (false, false) => Spelling::Plain,
        (false, true) => Spelling::Underscored,
    }
}

/// A field value without CR, LF, NUL and other CTLs (RFC 9110 §5.5), outer white space aside.
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    // HTAB is rare: where the quick look finds a control byte, each byte is looked at.
    let quick = match bytes.last_chunk() {
        Some(last) => {
            let lanes = bytes.as_chunks().0.iter();
            lanes.fold(controls(last), |found, lane| found | controls(lane)) == 0
        }
        None => none_in_words(bytes, |word| below(word, b' ') | equal(word, 0x7f)),
    };
    quick || bytes.iter().all(|byte| is_value_byte(*byte))
}

/// Only bytes that a target may hold.
#[inline]
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    none_in_words(bytes, |word| {
        below(word, b'!') | equal(word, 0x7f) | equal(word, b'#') | (word & each(0x80))
    }) || bytes.iter().all(|byte| is_target_byte(*byte))
}

/// Whether no eight bytes hold one that `marks` marks by its high bit. A mark may be too many (a borrow runs over into the
/// next byte) but never missing, so that `false` needs another look.
#[inline]
fn none_in_words(bytes: &[u8], marks: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    // What is left is filled up with a letter, which is good everywhere.
    let mut last = [b'a'; 8];
    last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    let found = words
        .iter()
        .fold(marks(u64::from_le_bytes(last)), |found, word| found | marks(u64::from_le_bytes(*word)));
    found == 0
}

/// A byte in each place of a word.
#[inline]
pub(crate) const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks bytes of an ASCII word that are below `bound`; bytes above 0x7f are not marked.
#[inline]
pub(crate) const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(each(bound)) & !word & each(0x80)
}

/// Marks bytes that equal this one.
#[inline]
pub(crate) const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ each(byte);
    difference.wrapping_sub(each(1)) & !difference & each(0x80)
}

/// Without leading and trailing SP and HTAB.
#[must_use]
pub fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(*byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// The members of a comma-separated list without their white space; empty members are skipped (RFC 9110 §5.6.1.2).
/// Quoted strings are not understood: for lists of tokens only.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// `1*DIGIT` of at most `digits_max`, as a number.
#[must_use]
pub fn decimal(bytes: &[u8], digits_max: usize) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > digits_max {
        return None;
    }
    // Nineteen digits cannot overflow.
    if bytes.len() <= 19 {
        return bytes.iter().try_fold(0, |sum, byte| Some(sum * 10 + decimal_digit(*byte)?));
    }
    bytes.iter().try_fold(0u64, |sum, byte| sum.checked_mul(10)?.checked_add(decimal_digit(*byte)?))
}

#[inline]
fn decimal_digit(byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(u64::from(digit))
}

/// The value of a hex digit.
#[must_use]
#[inline]
pub fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Spelling, decimal, is_field_value, is_target, is_target_byte, is_token, is_value_byte, list_members,
        spelling, trim,
    };

    #[test]
    fn classes_are_those_of_the_grammars() {
        assert!(is_token(b"!#$%&'*+-.^_`|~azAZ09"));
        for byte in [b' ', b':', b'"', b'(', b')', b',', b'/', b'@', b'{', b'}', b'\\', 0, 0x7f, 0x80, b'\t']
        {
            assert!(!is_token(&[b'a', byte]), "{byte:#x}");
        }
        assert!(!is_token(b""));
        for (name, expected) in [
            (&b"x-a"[..], Spelling::Plain),
            (b"x_a", Spelling::Underscored),
            (b"_", Spelling::Underscored),
            (b"x_a b", Spelling::Bad),
            (b"", Spelling::Bad),
        ] {
            assert_eq!(spelling(name), expected, "{name:?}");
        }
        assert!(is_field_value(b"a\tb \x80\xff~"));
        for byte in [0, b'\r', b'\n', 0x0b, 0x1f, 0x7f] {
            assert!(!is_field_value(&[b'a', byte]), "{byte:#x}");
        }
        assert!(is_target(b"/a?b=%20&{}|\"<>"));
        for byte in [b' ', b'#', 0, 0x7f, 0x80, b'\t'] {
            assert!(!is_target(&[b'/', byte]), "{byte:#x}");
        }
    }

    #[test]
    fn every_byte_is_classed_alike_in_any_place() {
        for byte in 0..=255u8 {
            for at in 0..19 {
                let mut text = *b"abcdefghijklmnopqrs";
                text[at] = byte;
                assert_eq!(is_target(&text), is_target_byte(byte), "{byte:#x} at {at}");
                assert_eq!(is_field_value(&text), is_value_byte(byte), "{byte:#x} at {at}");
                let mut high = [0xff; 19];
                high[at] = byte;
                assert_eq!(is_field_value(&high), is_value_byte(byte), "{byte:#x} at {at}");
            }
        }
    }

    #[test]
    fn numbers_have_no_sign_space_or_overflow() {
        assert_eq!(decimal(b"007", 19), Some(7));
        for bad in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"0x1", b"1,1", b"99999999999999999999"] {
            assert_eq!(decimal(bad, 20), None, "{bad:?}");
        }
    }

    #[test]
    fn lists_are_split_and_trimmed() {
        assert_eq!(trim(b" \t a b \t"), b"a b");
        assert_eq!(trim(b"  "), b"");
        let members: Vec<&[u8]> = list_members(b"a, ,b\t,,c").collect();
        assert_eq!(members, [&b"a"[..], b"b", b"c"]);
    }
}
