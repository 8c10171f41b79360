//! QPACK (RFC 9204) without a dynamic table: we announce capacity 0, so that no field section ever waits for another stream and
//! no peer makes us keep a table.

mod fixed;
pub mod huffman;
mod instructions;
pub(crate) mod integer;

pub use instructions::{DecoderStreamReader, EncoderStreamReader};

pub(crate) use self::fixed::TABLE;
use crate::buffer::{Buffer, Class};
use crate::fixed::Found;

/// Why a field section was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionEnd<E> {
    /// It cannot be decoded: the connection ends with QPACK_DECOMPRESSION_FAILED.
    Undecodable,
    /// Whoever saw its lines wants no more. Without a dynamic table nothing is lost by that.
    Stopped(E),
}

/// Calls `see` with name and value of each line of an encoded field section, as they came.
///
/// # Errors
/// [`SectionEnd`].
pub fn read_section<E>(
    mut section: &[u8],
    mut see: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), SectionEnd<E>> {
    read_prefix(&mut section).ok_or(SectionEnd::Undecodable)?;
    // Texts that are not coded are shown where they lie; the others are decoded into this.
    let mut decoded = None;
    while !section.is_empty() {
        let line = read_line(&mut section, &mut decoded).ok_or(SectionEnd::Undecodable)?;
        let space = decoded.as_deref().unwrap_or_default();
        see(line.name.of(space), line.value.of(space)).map_err(SectionEnd::Stopped)?;
    }
    Ok(())
}

/// Required Insert Count and Base (RFC 9204 §4.5.1): both are 0 where there is no dynamic table.
fn read_prefix(section: &mut &[u8]) -> Option<()> {
    let inserts = integer::take(section, 8)?;
    let negative = section.first()? & 0x80 != 0;
    integer::take(section, 7)?;
    // A sign with nothing to subtract from makes Base negative.
    (inserts == 0 && !negative).then_some(())
}

/// Where a name or a value lies.
enum Text<'a> {
    There(&'a [u8]),
    /// So many bytes of the space into which texts are decoded, from the first place on.
    Decoded(usize, usize),
}

impl<'a> Text<'a> {
    #[inline]
    fn of<'b>(&self, space: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::There(bytes) => bytes,
            Self::Decoded(from, to) => space.get(from..to).unwrap_or_default(),
        }
    }
}

struct Line<'a> {
    name: Text<'a>,
    value: Text<'a>,
}

/// One field line representation (RFC 9204 §4.5.2 to §4.5.6); those that refer to a dynamic table are none.
#[inline]
fn read_line<'a>(section: &mut &'a [u8], decoded: &mut Option<Buffer>) -> Option<Line<'a>> {
    if let Some(decoded) = decoded {
        decoded.clear();
    }
    let first = *section.first()?;
    let of_table = |index| TABLE.row(index).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let name = match first {
        // Indexed, static.
        0xc0.. => {
            let (name, value) = of_table(integer::take(section, 6)?)?;
            return Some(Line { name: Text::There(name), value: Text::There(value) });
        }
        // Literal with a name of the static table.
        0x50..=0x5f | 0x70..=0x7f => Text::There(of_table(integer::take(section, 4)?)?.0),
        // Literal with a literal name.
        0x20..=0x3f => read_text(section, 3, decoded)?,
        _ => return None,
    };
    Some(Line { name, value: read_text(section, 7, decoded)? })
}

/// A string literal (RFC 9204 §4.1.2): the bit above the prefix says whether it is coded.
#[inline]
fn read_text<'a>(section: &mut &'a [u8], prefix: u32, decoded: &mut Option<Buffer>) -> Option<Text<'a>> {
    let coded = section.first()? & (1 << prefix) != 0;
    let length = usize::try_from(integer::take(section, prefix)?).ok()?;
    let (text, rest) = section.split_at_checked(length)?;
    *section = rest;
    if !coded {
        return Some(Text::There(text));
    }
    let space = decoded.get_or_insert_with(|| Buffer::take(Class::K4));
    let from = space.len();
    // What a coded text may grow to, checked before; a line that is longer than the largest class reallocates.
    let most = length.saturating_mul(8) / 5 + 1;
    if space.spare() < most {
        let larger = Buffer::take(Class::holding(from + most).unwrap_or(Class::K256));
        let smaller = std::mem::replace(space, larger);
        space.vec_mut().extend_from_slice(&smaller);
    }
    huffman::decode(text, space.vec_mut())?;
    Some(Text::Decoded(from, space.len()))
}

/// Appends the prefix of a field section.
#[inline]
pub fn write_prefix(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0]);
}

/// Appends a field line; `name` is in lower case.
#[inline]
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    match TABLE.find(name, value) {
        Found::Field(index) => return integer::write(out, 0xc0, 6, u64::from(index)),
        Found::Name(index) => integer::write(out, 0x50, 4, u64::from(index)),
        Found::Nothing => write_text(out, 0x20, 3, name),
    }
    write_text(out, 0, 7, value);
}

/// Appends `:status`.
pub fn write_status(out: &mut Vec<u8>, status: u16) {
    write_field(out, b":status", itoa::Buffer::new().format(status).as_bytes());
}

/// Appends a string literal, coded where that is shorter.
#[inline]
fn write_text(out: &mut Vec<u8>, flags: u8, prefix: u32, text: &[u8]) {
    let coded = huffman::coded_len(text);
    if coded < text.len() {
        integer::write(out, flags | 1 << prefix, prefix, coded as u64);
        huffman::encode(text, out);
    } else {
        integer::write(out, flags, prefix, text.len() as u64);
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests;
