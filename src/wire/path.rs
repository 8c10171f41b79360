//! One normalised path for match, authorisation and forwarding (contract, rule 18), made in place: it never grows.

use crate::head::{RequestHead, TargetForm};
use crate::lanes;
use crate::reject::Reject;
use crate::syntax::{hex_digit, is_unreserved};

/// How a path is normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPolicy {
    /// Unreserved bytes decoded, dot segments resolved, escapes in upper case.
    Strict,
    /// As strict, and `//` becomes `/`.
    Merge,
    /// Left as it came; a dot segment in any spelling is refused.
    AsIs,
}

/// A normalised path's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalised {
    /// Its length: it begins where the path began.
    pub len: usize,
    /// It held `%2F`, which only a route that allows it may pass: told even where `..` removed its segment, because
    /// endpoints differ on what that removes.
    pub encoded_slash: bool,
}

/// Normalises a head's path. `*` stays.
///
/// # Errors
/// [`Reject::PathEncoded`], [`Reject::PathPercent`], [`Reject::PathDots`].
pub fn normalise_path(head: &mut RequestHead, policy: PathPolicy) -> Result<(), Reject> {
    if head.parts.form == TargetForm::Asterisk {
        return Ok(());
    }
    let span = head.parts.path;
    let path = span.of_mut(&mut head.buffer);
    if is_plain(path, policy) {
        return Ok(());
    }
    let normalised = normalise_or_leave(path, policy);
    // What is refused is recorded and told, too.
    let len = normalised.as_ref().map_or_else(|refused| refused.len, |normalised| normalised.len);
    head.parts.path.len = u16::try_from(len).unwrap_or(span.len);
    head.parts.encoded_slash = normalised.map_err(|refused| refused.reject)?.encoded_slash;
    Ok(())
}

/// Why a path is refused, and its length: it is normalised as far as it is good, and left as it came from there on.
struct Refused {
    reject: Reject,
    len: usize,
}

/// Normalises a path that begins with `/`, in place. A raw or encoded `\` and an encoded NUL are refused under every
/// policy, because endpoints differ on them; dot segments may not climb above the root.
///
/// # Errors
/// [`Reject::PathEncoded`], [`Reject::PathPercent`], [`Reject::PathDots`].
pub fn normalise(path: &mut [u8], policy: PathPolicy) -> Result<Normalised, Reject> {
    if is_plain(path, policy) {
        return Ok(Normalised { len: path.len(), encoded_slash: false });
    }
    normalise_or_leave(path, policy).map_err(|refused| refused.reject)
}

/// A path that is not plain.
#[inline]
fn normalise_or_leave(path: &mut [u8], policy: PathPolicy) -> Result<Normalised, Refused> {
    let end = path.len();
    if policy == PathPolicy::AsIs {
        return check_as_is(path).map_err(|reject| Refused { reject, len: end });
    }
    let mut out = Output { path, read: 0, written: 0, segment: 0, merge: policy == PathPolicy::Merge };
    match out.write_all() {
        Ok(encoded_slash) => Ok(Normalised { len: out.written, encoded_slash }),
        Err(reject) => {
            // What is good is closed up with the rest.
            out.path.copy_within(out.read.., out.written);
            Err(Refused { reject, len: out.written + end - out.read })
        }
    }
}

/// Refuses what is ambiguous and changes nothing. An escape that is none stands for itself.
fn check_as_is(path: &[u8]) -> Result<Normalised, Reject> {
    let mut encoded_slash = false;
    let mut segment_len = 0;
    let mut only_dots = true;
    let mut at = 0;
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        let (byte, read) = match next_unit(rest) {
            Ok(Unit::Byte { byte, read }) => (byte, read),
            Ok(Unit::Escape { byte }) => {
                encoded_slash |= byte == b'/';
                (b'%', 3)
            }
            Err(Reject::PathPercent) => (b'%', 1),
            Err(reject) => return Err(reject),
        };
        at += read;
        if byte == b'/' {
            refuse_dots(segment_len, only_dots)?;
            (segment_len, only_dots) = (0, true);
        } else {
            segment_len += 1;
            only_dots &= byte == b'.';
        }
    }
    refuse_dots(segment_len, only_dots)?;
    Ok(Normalised { len: path.len(), encoded_slash })
}

fn refuse_dots(segment_len: usize, only_dots: bool) -> Result<(), Reject> {
    if only_dots && matches!(segment_len, 1 | 2) { Err(Reject::PathDots) } else { Ok(()) }
}

/// Nothing to do: no escape, no backslash, no segment that begins with a dot, and no empty one where they merge.
fn is_plain(path: &[u8], policy: PathPolicy) -> bool {
    let (mut at, mut found, mut after_slash) = (0, 0, 0);
    while let Some(rest) = path.get(at..).filter(|rest| !rest.is_empty()) {
        let chunk = lanes::first(rest);
        let slashes = lanes::each_of(&chunk, b'/');
        let begins = slashes << 1 | after_slash;
        let empty = if policy == PathPolicy::Merge { slashes } else { 0 };
        found |= lanes::each_of(&chunk, b'%') | lanes::each_of(&chunk, b'\\');
        found |= begins & (lanes::each_of(&chunk, b'.') | empty);
        after_slash = slashes >> 15;
        at += 16;
    }
    found == 0
}

/// One byte of the path's meaning.
enum Unit {
    /// A byte that stands for itself.
    Byte { byte: u8, read: usize },
    /// A byte that stays escaped.
    Escape { byte: u8 },
}

fn next_unit(rest: &[u8]) -> Result<Unit, Reject> {
    match rest.first().copied().unwrap_or(0) {
        b'\\' => return Err(Reject::PathEncoded),
        b'%' => {}
        byte => return Ok(Unit::Byte { byte, read: 1 }),
    }
    let digit = |at: usize| rest.get(at).and_then(|byte| hex_digit(*byte));
    let (Some(high), Some(low)) = (digit(1), digit(2)) else { return Err(Reject::PathPercent) };
    match high << 4 | low {
        0 | b'\\' => Err(Reject::PathEncoded),
        byte if is_unreserved(byte) => Ok(Unit::Byte { byte, read: 3 }),
        byte => Ok(Unit::Escape { byte }),
    }
}

/// The path being written over itself.
///
/// INVARIANT: what is written is never ahead of what is read, because no unit grows.
struct Output<'a> {
    path: &'a mut [u8],
    /// Where what is not taken yet begins.
    read: usize,
    written: usize,
    /// Where the segment begins that is being written: after its slash.
    segment: usize,
    merge: bool,
}

impl Output<'_> {
    /// Writes the whole path; true: it held `%2F`.
    #[inline]
    fn write_all(&mut self) -> Result<bool, Reject> {
        let end = self.path.len();
        let mut encoded_slash = false;
        while self.read < end {
            match next_unit(self.path.get(self.read..).unwrap_or_default())? {
                Unit::Byte { byte: b'/', .. } => {
                    self.slash()?;
                    self.read += 1;
                }
                Unit::Byte { byte, read } => {
                    self.read += read;
                    self.push(byte);
                }
                Unit::Escape { byte } => {
                    self.read += 3;
                    encoded_slash |= byte == b'/';
                    self.escape(byte);
                }
            }
        }
        self.end_segment()?;
        Ok(encoded_slash)
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.path.get_mut(self.written) {
            *place = byte;
        }
        self.written += 1;
    }

    fn escape(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |value: u8| DIGITS.get(value as usize & 15).copied().unwrap_or(b'0');
        self.push(b'%');
        self.push(digit(byte >> 4));
        self.push(digit(byte));
    }

    fn slash(&mut self) -> Result<(), Reject> {
        let resolved = self.end_segment()?;
        let empty = self.written == self.segment && self.written > 0;
        if !(resolved || (self.merge && empty)) {
            self.push(b'/');
            self.segment = self.written;
        }
        Ok(())
    }

    /// Resolves the segment that ends here; true: it was a dot segment and is gone.
    fn end_segment(&mut self) -> Result<bool, Reject> {
        match self.path.get(self.segment..self.written).unwrap_or_default() {
            b"." => self.written = self.segment,
            b".." => {
                // The bytes before the parent's slash: empty where the parent would be above the root.
                let above = self.segment.checked_sub(1).and_then(|slash| self.path.get(..slash));
                let parent = above.and_then(|above| above.iter().rposition(|byte| *byte == b'/'));
                self.segment = parent.ok_or(Reject::PathDots)? + 1;
                self.written = self.segment;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{PathPolicy, normalise, normalise_or_leave};
    use crate::reject::Reject;

    #[test]
    fn what_is_refused_is_left_as_it_came_from_the_fault_on() {
        for (path, reject, left) in [
            ("/%2e%2e", Reject::PathDots, "/.."),
            ("/%61/../%2e./b%41", Reject::PathDots, "/../b%41"),
            ("/a/./%62/c%00d%41", Reject::PathEncoded, "/a/b/c%00d%41"),
            ("/%41\\%42", Reject::PathEncoded, "/A\\%42"),
            ("/%41%4", Reject::PathPercent, "/A%4"),
            ("/%41%", Reject::PathPercent, "/A%"),
        ] {
            let mut bytes = path.as_bytes().to_vec();
            let refused = normalise_or_leave(&mut bytes, PathPolicy::Strict).err().unwrap();
            bytes.truncate(refused.len);
            assert_eq!((refused.reject, String::from_utf8_lossy(&bytes).as_ref()), (reject, left), "{path}");
        }
    }

    #[test]
    fn what_is_not_plain_is_found_in_any_place() {
        for len in 1..40 {
            let name = "a".repeat(len);
            let made = |end: &str, policy| {
                let mut path = format!("/{name}{end}").into_bytes();
                let done = normalise(&mut path, policy)?;
                Ok(String::from_utf8_lossy(&path[..done.len]).into_owned())
            };
            for (end, becomes) in
                [("/./b", "/b"), ("%41", "A"), ("/.b", "/.b"), ("//b", "//b"), ("/b.", "/b.")]
            {
                assert_eq!(made(end, PathPolicy::Strict), Ok(format!("/{name}{becomes}")), "{len}");
            }
            assert_eq!(made("/../b", PathPolicy::Strict), Ok("/b".to_owned()), "{len}");
            assert_eq!(made("//b", PathPolicy::Merge), Ok(format!("/{name}/b")), "{len}");
            for policy in [PathPolicy::Strict, PathPolicy::Merge, PathPolicy::AsIs] {
                assert_eq!(made("\\b", policy), Err(Reject::PathEncoded), "{len}");
                assert_eq!(made("%00b", policy), Err(Reject::PathEncoded), "{len}");
            }
            assert_eq!(made("/.", PathPolicy::AsIs), Err(Reject::PathDots), "{len}");
        }
    }
}
