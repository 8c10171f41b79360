//! Extensible priorities (RFC 9218), for HTTP/2 and HTTP/3: the `Priority` field and PRIORITY_UPDATE say the same words.

/// Urgency and incrementality of a reply (RFC 9218 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority {
    /// 0, the most urgent, to 7.
    pub urgency: u8,
    /// Whether the reply is of use in part, so that it shares with others of its urgency.
    pub incremental: bool,
}

impl Default for Priority {
    /// What holds where nothing is said (RFC 9218 §4.1, §4.2).
    fn default() -> Self {
        Self { urgency: Self::URGENCY_DEFAULT, incremental: false }
    }
}

impl Priority {
    /// The urgency of a request that names none (RFC 9218 §4.1).
    pub const URGENCY_DEFAULT: u8 = 3;
    /// The least urgent.
    pub const URGENCY_MAX: u8 = 7;

    /// Reads the value of a `Priority` field or of PRIORITY_UPDATE: a dictionary of structured fields (RFC 8941 §3.2). Members of
    /// other names, types or ranges are ignored (RFC 9218 §4); a value that is no dictionary, or longer than 256 bytes, says
    /// nothing at all.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        if value.len() > VALUE_BYTES_MAX {
            return Self::default();
        }
        dictionary(value).unwrap_or_default()
    }

    /// Whether this one goes before the other; streams of one rank take turns.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        (self.urgency, self.incremental) < (other.urgency, other.incremental)
    }
}

/// The longest value that is read.
const VALUE_BYTES_MAX: usize = 256;

/// What a bare item is, as far as it matters here.
#[derive(Clone, Copy)]
enum Item {
    Boolean(bool),
    Integer(i64),
    Other,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn skip(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.skip(1);
        }
        there
    }

    fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> &'a [u8] {
        let count = self.0.iter().position(|byte| !accepts(*byte)).unwrap_or(self.0.len());
        self.skip(count)
    }
}

fn dictionary(value: &[u8]) -> Option<Priority> {
    let mut priority = Priority::default();
    let mut cursor = Cursor(value);
    cursor.take_while(|byte| byte == b' ');
    while !cursor.0.is_empty() {
        let name = key(&mut cursor)?;
        let item = if cursor.eat(b'=') { member(&mut cursor)? } else { Item::Boolean(true) };
        parameters(&mut cursor)?;
        // The last of members of one name counts, whatever its type (RFC 8941 §4.2.2).
        match (name, item) {
            (b"u", Item::Integer(urgency)) => {
                priority.urgency = match u8::try_from(urgency) {
                    Ok(urgency) if urgency <= Priority::URGENCY_MAX => urgency,
                    _ => Priority::URGENCY_DEFAULT,
                };
            }
            (b"u", _) => priority.urgency = Priority::URGENCY_DEFAULT,
            (b"i", Item::Boolean(incremental)) => priority.incremental = incremental,
            (b"i", _) => priority.incremental = false,
            _ => {}
        }
        cursor.take_while(|byte| matches!(byte, b' ' | b'\t'));
        if cursor.0.is_empty() {
            break;
        }
        if !cursor.eat(b',') {
            return None;
        }
        cursor.take_while(|byte| matches!(byte, b' ' | b'\t'));
        if cursor.0.is_empty() {
            return None;
        }
    }
    Some(priority)
}

fn key<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    cursor.peek().filter(|byte| byte.is_ascii_lowercase() || *byte == b'*')?;
    Some(cursor.take_while(|byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
    }))
}

/// An item or an inner list, without its parameters.
fn member(cursor: &mut Cursor<'_>) -> Option<Item> {
    if !cursor.eat(b'(') {
        return item(cursor);
    }
    loop {
        cursor.take_while(|byte| byte == b' ');
        if cursor.eat(b')') {
            return Some(Item::Other);
        }
        item(cursor)?;
        parameters(cursor)?;
        cursor.peek().filter(|byte| matches!(byte, b' ' | b')'))?;
    }
}

fn parameters(cursor: &mut Cursor<'_>) -> Option<()> {
    while cursor.eat(b';') {
        cursor.take_while(|byte| byte == b' ');
        key(cursor)?;
        if cursor.eat(b'=') {
            item(cursor)?;
        }
    }
    Some(())
}

/// A bare item (RFC 8941 §3.3).
fn item(cursor: &mut Cursor<'_>) -> Option<Item> {
    match cursor.peek()? {
        b'?' => {
            cursor.skip(1);
            match cursor.skip(1) {
                b"1" => Some(Item::Boolean(true)),
                b"0" => Some(Item::Boolean(false)),
                _ => None,
            }
        }
        b'-' | b'0'..=b'9' => number(cursor),
        b'"' => {
            cursor.skip(1);
            loop {
                cursor.take_while(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
                match cursor.skip(1) {
                    b"\"" => return Some(Item::Other),
                    b"\\" if matches!(cursor.skip(1), b"\"" | b"\\") => {}
                    _ => return None,
                }
            }
        }
        b':' => {
            cursor.skip(1);
            cursor.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
            cursor.eat(b':').then_some(Item::Other)
        }
        byte if byte.is_ascii_alphabetic() || byte == b'*' => {
            cursor.take_while(|byte| crate::syntax::is_tchar(byte) || matches!(byte, b':' | b'/'));
            Some(Item::Other)
        }
        _ => None,
    }
}

/// An integer of at most 15 digits, or a decimal of at most 12 and 3.
fn number(cursor: &mut Cursor<'_>) -> Option<Item> {
    let negative = cursor.eat(b'-');
    let whole = cursor.take_while(|byte| byte.is_ascii_digit());
    let value = i64::try_from(crate::syntax::decimal(whole, 15)?).ok()?;
    if cursor.eat(b'.') {
        let fraction = cursor.take_while(|byte| byte.is_ascii_digit());
        return ((1..=3).contains(&fraction.len()) && whole.len() <= 12).then_some(Item::Other);
    }
    Some(Item::Integer(if negative { -value } else { value }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Priority;

    fn read(value: &str) -> (u8, bool) {
        let priority = Priority::of(value.as_bytes());
        (priority.urgency, priority.incremental)
    }

    #[test]
    fn the_two_members_are_read_and_others_ignored() {
        for (value, urgency, incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i", 3, true),
            ("i=?0", 3, false),
            ("i=?1,u=5", 5, true),
            (" u=2 \t,\ti ", 2, true),
            ("u=1;x=\"a\\\"b\";y, i;z=?0", 1, true),
            ("a=(1 2 tok;p \"s\");q, u=4", 4, false),
            ("b=:aGk=:, c=1.5, d=*t/x:y, u=6", 6, false),
            ("u=1, u=2", 2, false),
            ("u=1, u=tok", 3, false),
            ("i, i=1", 3, false),
        ] {
            assert_eq!(read(value), (urgency, incremental), "{value}");
        }
    }

    #[test]
    fn values_out_of_range_count_as_absent_and_broken_ones_say_nothing() {
        for value in ["u=8", "u=-1", "u=1.0", "u=\"1\"", "u", "u=300"] {
            assert_eq!(read(value), (3, false), "{value}");
        }
        for value in [
            "u=1,",
            "u=1,,i",
            "U=1",
            "u=",
            "u=1 i",
            "u=0, i=?2",
            "u=0,\"",
            "u=0,a=\"x",
            "u=0,b=:x",
            "u=0,c=(1",
            "u=0,c=(1)(",
            "u=0;",
            "u=0,d=1234567890123456",
            "u=0,d=1.",
            "u=0,d=1.2345",
            "u=0,\u{e9}",
        ] {
            assert_eq!(read(value), (3, false), "{value}");
        }
    }

    #[test]
    fn the_more_urgent_goes_first() {
        assert!(Priority::of(b"u=1").is_before(Priority::default()));
        assert!(!Priority::default().is_before(Priority::default()));
        assert!(Priority::default().is_before(Priority::of(b"i")));
        assert_eq!(Priority::of(&[b'i'; 257]), Priority::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(value in any::<Vec<u8>>()) {
            prop_assert!(Priority::of(&value).urgency <= Priority::URGENCY_MAX);
        }

        #[test]
        fn what_is_written_plainly_is_read(urgency in 0u8..8, incremental: bool) {
            let value = format!("u={urgency}{}", if incremental { ", i" } else { "" });
            prop_assert_eq!(read(&value), (urgency, incremental));
        }
    }
}
