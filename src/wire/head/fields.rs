//! Field lines as spans, in a vector that is reused.

use std::cell::RefCell;

use crate::field::{ENDS_HERE, FieldId, FieldSet, HOP};
use crate::overlay::Overlay;

/// A range of a head's buffer, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Where it begins.
    pub start: u16,
    /// How long it is.
    pub len: u16,
}

impl Span {
    /// The span of these bounds; `None` where they do not fit in 16 bits.
    #[must_use]
    pub fn new(start: usize, len: usize) -> Option<Self> {
        Some(Self { start: u16::try_from(start).ok()?, len: u16::try_from(len).ok()? })
    }

    /// Where it ends.
    #[must_use]
    #[inline]
    pub fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// Its bytes; empty where the span is not of these bytes.
    #[must_use]
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end()).unwrap_or_default()
    }

    pub(crate) fn of_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        bytes.get_mut(self.start as usize..self.end()).unwrap_or_default()
    }
}

/// One field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name as it came.
    pub name: Span,
    /// Its value without surrounding white space.
    pub value: Span,
    /// Which name it is.
    pub id: FieldId,
    /// The class of its name, [`HOP`] too where the peer made it hop-by-hop, and [`CANONICAL`].
    facts: u8,
}

/// A line that is byte for byte what writing it anew would give: `name: value CRLF`.
const CANONICAL: u8 = 1 << 7;

impl Field {
    /// Whether it is hop-by-hop: policies do not see it and it is never forwarded.
    #[must_use]
    #[inline]
    pub fn is_dropped(&self) -> bool {
        self.facts & HOP != 0
    }

    #[inline]
    pub(crate) fn drop(&mut self) {
        self.facts |= HOP;
    }

    /// Gives it another value, which stands elsewhere in the buffer: its line is no longer what writing it anew would give.
    pub(crate) fn set_value(&mut self, value: Span) {
        self.value = value;
        self.facts &= !CANONICAL;
    }

    /// Whether it is passed on: neither hop-by-hop nor framing nor Host, which are written by us.
    #[inline]
    pub(crate) fn is_sent(&self) -> bool {
        self.facts & ENDS_HERE == 0
    }

    /// Where its line stands in the buffer, if it is byte for byte what writing it anew would give.
    #[inline]
    pub(crate) fn canonical_line(&self) -> Option<std::ops::Range<usize>> {
        (self.facts & CANONICAL != 0).then_some(self.name.start as usize..self.value.end() + 2)
    }
}

/// The field lines of one head, in order. The vector comes from a free list of its thread.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    list: Vec<Field>,
    present: FieldSet,
    /// Some name that is not in the table is written with `_`.
    underscored: bool,
}

/// How a field stands in its head's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Line {
    /// In some way.
    Other = 0,
    /// `name: value CRLF`, as we would write it.
    Canonical = CANONICAL,
}

impl Line {
    /// How the field of these spans stands in the buffer.
    pub(crate) fn of(name: Span, value: Span, bytes: &[u8]) -> Self {
        let (name_end, value_end) = (name.end(), value.end());
        let canonical = value.start as usize == name_end + 2
            && bytes.get(name_end..name_end + 2) == Some(b": ")
            && bytes.get(value_end..value_end + 2) == Some(b"\r\n");
        if canonical { Self::Canonical } else { Self::Other }
    }
}

/// Field vectors that a thread keeps.
const FREE_LISTS_MAX: usize = 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<Field>>> = const { RefCell::new(Vec::new()) };
}

impl Fields {
    pub(crate) fn take() -> Self {
        let list = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        Self {
            list: list.unwrap_or_else(|| Vec::with_capacity(16)),
            present: FieldSet::EMPTY,
            underscored: false,
        }
    }

    /// Adds a field that does not stand as a line in its head's buffer.
    pub(crate) fn push(&mut self, name: Span, value: Span, id: FieldId) {
        self.push_line(name, value, id, Line::Other);
    }

    /// Adds a line.
    #[inline]
    pub(crate) fn push_line(&mut self, name: Span, value: Span, id: FieldId, line: Line) {
        self.present.insert(id);
        self.list.push(Field { name, value, id, facts: id.class() | line as u8 });
    }

    /// Notes that some name that is not in the table is written with `_`.
    #[inline]
    pub(crate) fn note_underscore(&mut self) {
        self.underscored = true;
    }

    /// Whether some name that is not in the table is written with `_`.
    #[inline]
    pub(crate) fn is_underscored(&self) -> bool {
        self.underscored
    }

    /// Drops the lines of a request that [`FieldId::disguised`] tells of.
    #[inline]
    pub(crate) fn drop_disguised(&mut self, bytes: &[u8]) {
        if self.underscored {
            for field in self.list.iter_mut().filter(|field| field.id == FieldId::Other) {
                if FieldId::disguised(field.name.of(bytes)).is_some() {
                    field.drop();
                }
            }
        }
    }

    pub(crate) fn list_mut(&mut self) -> &mut [Field] {
        &mut self.list
    }

    /// All lines, dropped ones too.
    #[must_use]
    pub fn all(&self) -> &[Field] {
        &self.list
    }

    /// Which known names occur, dropped ones too.
    #[must_use]
    pub fn present(&self) -> FieldSet {
        self.present
    }

    /// The values of all lines of this name, dropped ones too.
    pub(crate) fn values<'a>(&'a self, bytes: &'a [u8], id: FieldId) -> impl Iterator<Item = &'a [u8]> {
        let some = self.present.contains(id);
        let lines = if some { self.list.as_slice() } else { &[] };
        lines.iter().filter(move |field| field.id == id).map(|field| field.value.of(bytes))
    }

    /// The values of all lines of this name that are not dropped.
    pub(crate) fn kept_values<'a>(
        &'a self,
        bytes: &'a [u8],
        id: FieldId,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let lines = if self.present.contains(id) { self.list.as_slice() } else { &[] };
        lines
            .iter()
            .filter(move |field| field.id == id && !field.is_dropped())
            .map(|field| field.value.of(bytes))
    }

    /// The first line of this name that is not dropped.
    #[inline]
    pub(crate) fn first(&self, id: FieldId) -> Option<&Field> {
        if !self.present.contains(id) {
            return None;
        }
        self.list.iter().find(|field| field.id == id && !field.is_dropped())
    }

    /// The values of all lines of a name, which the table may or may not know, that are not dropped.
    pub(crate) fn named<'a, 'n>(
        &'a self,
        bytes: &'a [u8],
        name: &'n [u8],
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.known_as(bytes, (FieldId::of(name), name))
    }

    /// As [`Self::named`] of a name whose id is known.
    #[inline]
    pub(crate) fn known_as<'a, 'n>(
        &'a self,
        bytes: &'a [u8],
        (id, name): (FieldId, &'n [u8]),
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let lines = if self.present.contains(id) { self.list.as_slice() } else { &[] };
        lines
            .iter()
            .filter(move |field| {
                field.id == id
                    && !field.is_dropped()
                    && (id != FieldId::Other || field.name.of(bytes).eq_ignore_ascii_case(name))
            })
            .map(|field| field.value.of(bytes))
    }

    /// Name and value of each field that is sent on under an overlay: without hop-by-hop and framing fields and Host, then
    /// what the overlay adds.
    pub(crate) fn sent<'a>(
        &'a self,
        bytes: &'a [u8],
        overlay: &'a Overlay,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let own = self.list.iter().filter_map(move |field| {
            if !field.is_sent() {
                return None;
            }
            Some((overlay.name_of(field.id, field.name.of(bytes))?, field.value.of(bytes)))
        });
        own.chain(overlay.added())
    }

    /// Name, value and id of each line that is not dropped.
    pub(crate) fn kept<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8], FieldId)> {
        self.list
            .iter()
            .filter(|field| !field.is_dropped())
            .map(|field| (field.name.of(bytes), field.value.of(bytes), field.id))
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.list);
        if list.capacity() == 0 {
            return;
        }
        list.clear();
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_LISTS_MAX {
                free.push(list);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldId, Fields, Line, Span};

    #[test]
    fn a_line_whose_value_was_changed_is_not_copied_as_it_came() {
        let bytes = b"cookie: a=1\r\na=1; b=2";
        let (name, value) = (Span::new(0, 6).unwrap(), Span::new(8, 3).unwrap());
        let mut fields = Fields::take();
        fields.push_line(name, value, FieldId::Cookie, Line::of(name, value, bytes));
        assert_eq!(fields.all()[0].canonical_line(), Some(0..13));

        fields.list_mut()[0].set_value(Span::new(13, 8).unwrap());
        assert_eq!(fields.all()[0].canonical_line(), None);
        assert_eq!(fields.all()[0].value.of(bytes), b"a=1; b=2");
    }
}
