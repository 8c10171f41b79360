//! Field lines as spans, in a vector that is reused.

use std::cell::RefCell;

use crate::field::{FieldId, FieldSet};
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
    /// Hop-by-hop: policies do not see it and it is never forwarded.
    pub dropped: bool,
}

impl Field {
    /// Whether it is passed on: neither hop-by-hop nor framing nor Host, which are written by us.
    #[inline]
    pub(crate) fn is_sent(&self) -> bool {
        !(self.dropped || self.id.is_ours_to_write() || self.id == FieldId::Host)
    }

    /// Where its line stands in the buffer, if it is byte for byte what writing it anew would give.
    #[inline]
    pub(crate) fn canonical_line(&self, bytes: &[u8]) -> Option<std::ops::Range<usize>> {
        let (name_end, value_end) = (self.name.end(), self.value.end());
        let canonical = self.value.start as usize == name_end + 2
            && bytes.get(name_end..name_end + 2) == Some(b": ")
            && bytes.get(value_end..value_end + 2) == Some(b"\r\n");
        canonical.then_some(self.name.start as usize..value_end + 2)
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

    #[inline]
    pub(crate) fn push(&mut self, name: Span, value: Span, id: FieldId) {
        self.present.insert(id);
        self.list.push(Field { name, value, id, dropped: id.is_hop_by_hop() });
    }

    /// Notes that some name that is not in the table is written with `_`.
    #[inline]
    pub(crate) fn note_underscore(&mut self) {
        self.underscored = true;
    }

    /// Drops the lines of a request that [`FieldId::disguised`] tells of.
    #[inline]
    pub(crate) fn drop_disguised(&mut self, bytes: &[u8]) {
        if self.underscored {
            for field in self.list.iter_mut().filter(|field| field.id == FieldId::Other) {
                field.dropped |= FieldId::disguised(field.name.of(bytes)).is_some();
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
        lines.iter().filter(move |field| field.id == id && !field.dropped).map(|field| field.value.of(bytes))
    }

    /// The first line of this name that is not dropped.
    #[inline]
    pub(crate) fn first(&self, id: FieldId) -> Option<&Field> {
        if !self.present.contains(id) {
            return None;
        }
        self.list.iter().find(|field| field.id == id && !field.dropped)
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
                    && !field.dropped
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
            .filter(|field| !field.dropped)
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
