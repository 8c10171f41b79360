//! Edits to a head's fields, applied when it is written. What is not edited is never copied into a string.

use std::borrow::Cow;
use std::cell::RefCell;

use crate::field::{FieldId, FieldSet, is_forwarded};
use crate::head::RequestHead;
use crate::syntax::{is_field_value, is_token};

/// Why an edit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEdit {
    /// The name is no token.
    #[error("the field name is no token")]
    Name,
    /// The value holds CR, LF, NUL or another control character.
    #[error("the field value holds a control character")]
    Value,
    /// Framing, hop-by-hop fields and Host are written by the gateway alone.
    #[error("the field is written by the gateway alone")]
    Reserved,
}

/// The name of a field, looked at once: what is prepared for many requests goes by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName {
    id: FieldId,
    text: Cow<'static, [u8]>,
}

/// `RateLimit`.
pub static RATE_LIMIT: FieldName = FieldName { id: FieldId::RateLimit, text: Cow::Borrowed(b"RateLimit") };
/// `RateLimit-Policy`.
pub static RATE_LIMIT_POLICY: FieldName =
    FieldName { id: FieldId::RateLimitPolicy, text: Cow::Borrowed(b"RateLimit-Policy") };

impl FieldName {
    /// Of a name, which is written as it is given.
    ///
    /// # Errors
    /// [`BadEdit::Name`].
    pub fn new(name: &[u8]) -> Result<Self, BadEdit> {
        Ok(Self { id: known(name)?, text: Cow::Owned(name.to_vec()) })
    }

    /// Its id and its text.
    #[inline]
    pub(crate) fn parts(&self) -> (FieldId, &[u8]) {
        (self.id, &self.text)
    }
}

/// A range of the overlay's text.
#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    len: u32,
}

impl Text {
    fn end(self) -> usize {
        self.start as usize + self.len as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Drop what has the name, then add.
    Set,
    /// Add.
    Append,
    /// Drop what has the name.
    Remove,
    /// Give what has the name another one.
    Rename,
    /// Drop what has one of several names, then add whole lines.
    Lines,
}

#[derive(Debug, Clone, Copy)]
struct Edit {
    kind: Kind,
    id: FieldId,
    name: Text,
    /// The value, or the new name.
    operand: Text,
    /// The new name's id.
    operand_id: FieldId,
    /// The names of [`Kind::Lines`], whose text is `operand`.
    ids: FieldSet,
}

impl Edit {
    fn of(kind: Kind, id: FieldId, name: Text) -> Self {
        let none = Text { start: 0, len: 0 };
        Self { kind, id, name, operand: none, operand_id: FieldId::Other, ids: FieldSet::EMPTY }
    }

    /// Whether it is about this name.
    #[inline]
    fn names(&self, edits: &Edits, id: FieldId, name: &[u8]) -> bool {
        match self.kind {
            Kind::Lines => self.ids.contains(id),
            _ if self.id != id => false,
            _ => id != FieldId::Other || edits.text(self.name).eq_ignore_ascii_case(name),
        }
    }
}

/// Edits in the order in which they were made: each sees what those before it left. No memory until there is one: of the two that a
/// request has, one is often left empty. The memory comes from a free list of its thread, so that a request costs no allocation.
#[derive(Debug, Default)]
pub struct Overlay {
    edits: Option<Box<Edits>>,
}

#[derive(Debug)]
struct Edits {
    text: Vec<u8>,
    list: Vec<Edit>,
    /// The ids that some edit names.
    touched: FieldSet,
    /// Fields of the head that are as if they had not come; edits of their names hold.
    ignored: FieldSet,
    /// So are those named `X-Forwarded-*` that the table does not know.
    ignores_forwarded: bool,
}

/// Overlays' memory that a thread keeps.
const FREE_MAX: usize = 256;
/// A larger text is freed.
const FREE_TEXT_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes themselves are used again")]
    static FREE: RefCell<Vec<Box<Edits>>> = const { RefCell::new(Vec::new()) };
}

impl Overlay {
    /// No edits.
    #[must_use]
    #[inline]
    pub fn take() -> Self {
        Self::default()
    }

    /// The edits, in memory that is taken before the first one.
    #[inline]
    fn begin(&mut self) -> &mut Edits {
        self.edits.get_or_insert_with(Edits::take)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.as_ref().is_none_or(|edits| edits.list.is_empty())
    }

    /// Replaces all fields of this name by one.
    ///
    /// # Errors
    /// [`BadEdit`]; nothing changes then.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadEdit> {
        self.add(Kind::Set, name, |text| text.extend_from_slice(value))
    }

    /// As [`Self::set`] with a value that is written straight into the overlay's memory.
    ///
    /// # Errors
    /// [`BadEdit`]; nothing changes then.
    pub fn set_with(&mut self, name: &[u8], value: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadEdit> {
        self.add(Kind::Set, name, value)
    }

    /// Adds a field after those that are there.
    ///
    /// # Errors
    /// [`BadEdit`]; nothing changes then.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadEdit> {
        self.add(Kind::Append, name, |text| text.extend_from_slice(value))
    }

    /// As [`Self::append`] with a value that is written straight into the overlay's memory.
    ///
    /// # Errors
    /// [`BadEdit`]; nothing changes then.
    pub fn append_with(&mut self, name: &FieldName, value: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadEdit> {
        self.begin().add_line(Kind::Append, unreserved(name.id)?, &name.text, value)
    }

    /// Removes all fields of this name.
    ///
    /// # Errors
    /// [`BadEdit::Name`], [`BadEdit::Reserved`]; nothing changes then.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), BadEdit> {
        self.remove_id(editable(name)?, name);
        Ok(())
    }

    /// As [`Self::remove`] of a name that was looked at before.
    ///
    /// # Errors
    /// [`BadEdit::Reserved`]; nothing changes then.
    pub fn remove_named(&mut self, name: &FieldName) -> Result<(), BadEdit> {
        self.remove_id(unreserved(name.id)?, &name.text);
        Ok(())
    }

    fn remove_id(&mut self, id: FieldId, name: &[u8]) {
        let edits = self.begin();
        let name = edits.keep(name);
        edits.push(Edit::of(Kind::Remove, id, name));
    }

    /// Gives all fields of this name another name. Fields that have that name already stay.
    ///
    /// # Errors
    /// [`BadEdit::Name`], [`BadEdit::Reserved`]; nothing changes then.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), BadEdit> {
        let id = editable(from)?;
        let operand_id = editable(to)?;
        let edits = self.begin();
        let name = edits.keep(from);
        let operand = edits.keep(to);
        edits.push(Edit { operand, operand_id, ..Edit::of(Kind::Rename, id, name) });
        // A later edit of the new name must see the renamed field.
        edits.touched.insert(operand_id);
        Ok(())
    }

    /// Removes those fields of a request whose name is that of a field that is set, removed or renamed here, but for a `_` in the place of a
    /// `-`. CGI and its heirs know both by one name (`HTTP_X_USER`): a caller could undo by the one what these edits say of the other.
    #[inline]
    pub fn remove_disguised(&mut self, head: &RequestHead) {
        if let (Some(edits), true) = (&mut self.edits, head.field_lines().is_underscored()) {
            edits.remove_disguised(head);
        }
    }

    fn add(&mut self, kind: Kind, name: &[u8], value: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadEdit> {
        let id = editable(name)?;
        self.begin().add_line(kind, id, name, value)
    }

    /// Drops all fields of these names and adds whole lines (`name: value CRLF`): many fields of ours in one edit.
    ///
    /// INVARIANT: `write` writes lines of names in `ids` alone, in lower case, whose values are checked or ours. Nothing of it is
    /// looked at again.
    pub(crate) fn set_lines(&mut self, ids: FieldSet, write: impl FnOnce(&mut Vec<u8>)) {
        let edits = self.begin();
        let start = edits.text.len();
        write(&mut edits.text);
        let none = Text { start: 0, len: 0 };
        let operand = Text { start: offset(start), len: offset(edits.text.len().saturating_sub(start)) };
        edits.touched.insert_all(ids);
        edits.list.push(Edit { operand, ids, ..Edit::of(Kind::Lines, FieldId::Other, none) });
    }

    /// Makes as if the head had no field of this name, whatever the edits before and after say of it: theirs stay.
    pub(crate) fn ignore(&mut self, id: FieldId) {
        let edits = self.begin();
        edits.touched.insert(id);
        edits.ignored.insert(id);
    }

    /// The same of `X-Forwarded-*` that the table does not know.
    pub(crate) fn ignore_forwarded(&mut self) {
        let edits = self.begin();
        edits.touched.insert(FieldId::Other);
        edits.ignores_forwarded = true;
    }

    /// Whether some edit names one of these.
    #[inline]
    pub(crate) fn touches_any(&self, ids: FieldSet) -> bool {
        self.edits.as_ref().is_some_and(|edits| edits.touched.meets(ids))
    }

    /// Whether some edit names this one.
    #[inline]
    pub(crate) fn touches(&self, id: FieldId) -> bool {
        self.edits.as_ref().is_some_and(|edits| edits.touched.contains(id))
    }

    /// The name under which a field of the head is written; `None`: it is not written.
    #[inline]
    pub(crate) fn name_of<'a>(&'a self, id: FieldId, name: &'a [u8]) -> Option<&'a [u8]> {
        match &self.edits {
            Some(edits) => edits.name_of(id, name),
            None => Some(name),
        }
    }

    /// Name and value of each field that the edits add, in order.
    pub(crate) fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.edits.as_deref().into_iter().flat_map(Edits::added)
    }

    /// Writes the fields that the edits add, in order.
    pub(crate) fn write_added(&self, out: &mut Vec<u8>) {
        let Some(edits) = &self.edits else { return };
        match edits.list.as_slice() {
            // Most have this one edit.
            [Edit { kind: Kind::Lines, operand, .. }] => out.extend_from_slice(edits.text(*operand)),
            _ => edits.write_added(out),
        }
    }

    /// An upper bound of what the edits add to a head, in bytes.
    pub(crate) fn bytes_added(&self) -> usize {
        self.edits.as_ref().map_or(0, |edits| edits.text.len() + edits.list.len() * 4)
    }
}

impl Drop for Overlay {
    #[inline]
    fn drop(&mut self) {
        if let Some(edits) = self.edits.take() {
            edits.give_back();
        }
    }
}

impl Edits {
    #[inline(never)]
    fn take() -> Box<Self> {
        FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_else(|| {
            Box::new(Self {
                text: Vec::with_capacity(512),
                list: Vec::with_capacity(8),
                touched: FieldSet::EMPTY,
                ignored: FieldSet::EMPTY,
                ignores_forwarded: false,
            })
        })
    }

    #[inline(never)]
    fn give_back(mut self: Box<Self>) {
        if self.text.capacity() > FREE_TEXT_BYTES_MAX {
            return;
        }
        self.text.clear();
        self.list.clear();
        (self.touched, self.ignored, self.ignores_forwarded) = (FieldSet::EMPTY, FieldSet::EMPTY, false);
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_MAX {
                free.push(self);
            }
        });
    }

    /// Keeps a field that is added as the line it will be written as, so that lines side by side are written as one.
    fn add_line(
        &mut self,
        kind: Kind,
        id: FieldId,
        name: &[u8],
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), BadEdit> {
        let before = self.text.len();
        let name = self.keep(name);
        self.text.extend_from_slice(b": ");
        let start = self.text.len();
        value(&mut self.text);
        if !self.text.get(start..).is_some_and(is_field_value) {
            self.text.truncate(before);
            return Err(BadEdit::Value);
        }
        let operand = Text { start: offset(start), len: offset(self.text.len().saturating_sub(start)) };
        self.text.extend_from_slice(b"\r\n");
        self.push(Edit { operand, ..Edit::of(kind, id, name) });
        Ok(())
    }

    #[cold]
    fn remove_disguised(&mut self, head: &RequestHead) {
        for (name, _, id) in head.fields() {
            if id == FieldId::Other && name.contains(&b'_') && self.is_disguised(name) {
                let name = self.keep(name);
                self.push(Edit::of(Kind::Remove, id, name));
            }
        }
    }

    /// Whether a name differs from that of some field that is set, removed or renamed by `_` for `-` alone. The name of an edit itself is not
    /// disguised: what it says holds.
    fn is_disguised(&self, name: &[u8]) -> bool {
        let alike = |edit: &Edit| {
            let edited = self.text(edit.name);
            matches!(edit.kind, Kind::Set | Kind::Remove | Kind::Rename)
                && edited.len() == name.len()
                && edited.iter().zip(name).all(|(one, other)| hyphened(*one) == hyphened(*other))
        };
        let named = |edit: &Edit| self.text(edit.name).eq_ignore_ascii_case(name);
        self.list.iter().any(alike) && !self.list.iter().any(named)
    }

    fn push(&mut self, edit: Edit) {
        self.touched.insert(edit.id);
        self.list.push(edit);
    }

    fn keep(&mut self, bytes: &[u8]) -> Text {
        let start = offset(self.text.len());
        self.text.extend_from_slice(bytes);
        Text { start, len: offset(bytes.len()) }
    }

    fn text(&self, text: Text) -> &[u8] {
        self.text.get(text.start as usize..text.end()).unwrap_or_default()
    }

    #[inline]
    fn name_of<'a>(&'a self, id: FieldId, name: &'a [u8]) -> Option<&'a [u8]> {
        match self.touched.contains(id) {
            false => Some(name),
            true if self.ignored.contains(id) => None,
            true if self.ignores_forwarded && id == FieldId::Other && is_forwarded(name) => None,
            true => self.fate(0, id, name),
        }
    }

    /// What the edits from `first` on make of a name.
    fn fate<'a>(&'a self, first: usize, mut id: FieldId, mut name: &'a [u8]) -> Option<&'a [u8]> {
        for edit in self.list.get(first..).unwrap_or_default() {
            if !edit.names(self, id, name) {
                continue;
            }
            match edit.kind {
                Kind::Set | Kind::Remove | Kind::Lines => return None,
                Kind::Append => {}
                Kind::Rename => {
                    id = edit.operand_id;
                    name = self.text(edit.operand);
                }
            }
        }
        Some(name)
    }

    fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().enumerate().flat_map(move |(at, edit)| {
            let one = match edit.kind {
                Kind::Set | Kind::Append => {
                    let name = self.fate(at + 1, edit.id, self.text(edit.name));
                    name.map(|name| (name, self.text(edit.operand)))
                }
                Kind::Lines | Kind::Remove | Kind::Rename => None,
            };
            let lines = if edit.kind == Kind::Lines { self.text(edit.operand) } else { &[] };
            let many = lines_of(lines)
                .filter_map(move |(name, value)| Some((self.fate(at + 1, FieldId::of(name), name)?, value)));
            one.into_iter().chain(many)
        })
    }

    /// Lines that no later edit touches are copied together.
    fn write_added(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        for (at, edit) in self.list.iter().enumerate() {
            let line = match edit.kind {
                Kind::Set | Kind::Append => {
                    let name = self.text(edit.name);
                    let Some(fate) = self.fate(at + 1, edit.id, name) else { continue };
                    if !std::ptr::eq(fate, name) {
                        out.extend_from_slice(self.text.get(std::mem::take(&mut run)).unwrap_or_default());
                        out.extend_from_slice(fate);
                        // From the colon on, the line stands as it is.
                        let rest = edit.name.end()..edit.operand.end() + 2;
                        out.extend_from_slice(self.text.get(rest).unwrap_or_default());
                        continue;
                    }
                    edit.name.start as usize..edit.operand.end() + 2
                }
                Kind::Lines if self.list.get(at + 1..).is_none_or(<[Edit]>::is_empty) => {
                    edit.operand.start as usize..edit.operand.end()
                }
                Kind::Lines => {
                    out.extend_from_slice(self.text.get(std::mem::take(&mut run)).unwrap_or_default());
                    self.write_lines(at, edit, out);
                    continue;
                }
                Kind::Remove | Kind::Rename => continue,
            };
            if run.end != line.start {
                out.extend_from_slice(self.text.get(run).unwrap_or_default());
                run = line.start..line.start;
            }
            run.end = line.end;
        }
        out.extend_from_slice(self.text.get(run).unwrap_or_default());
    }

    /// Writes lines one by one, as the edits after them want it.
    fn write_lines(&self, at: usize, edit: &Edit, out: &mut Vec<u8>) {
        for (name, value) in lines_of(self.text(edit.operand)) {
            if let Some(name) = self.fate(at + 1, FieldId::of(name), name) {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Name and value of each of our lines.
fn lines_of(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((name, value.strip_prefix(b": ")?.strip_suffix(b"\r")?))
    })
}

/// A byte of a name as CGI compares it.
fn hyphened(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The id of a name that may be edited.
fn editable(name: &[u8]) -> Result<FieldId, BadEdit> {
    unreserved(known(name)?)
}

/// The id of a name.
fn known(name: &[u8]) -> Result<FieldId, BadEdit> {
    let id = FieldId::of(name);
    // A name of the table is a token.
    if id == FieldId::Other && !is_token(name) { Err(BadEdit::Name) } else { Ok(id) }
}

/// The id, where its field is not written by the gateway alone.
#[inline]
fn unreserved(id: FieldId) -> Result<FieldId, BadEdit> {
    if id.is_ours_to_write() || id == FieldId::Host { Err(BadEdit::Reserved) } else { Ok(id) }
}

#[cfg(test)]
mod tests {
    use super::{BadEdit, FieldName, Overlay, RATE_LIMIT, RATE_LIMIT_POLICY};

    #[test]
    fn a_name_that_was_looked_at_is_the_name_that_is_looked_at() {
        assert_eq!(FieldName::new(b"RateLimit"), Ok(RATE_LIMIT.clone()));
        assert_eq!(FieldName::new(b"RateLimit-Policy"), Ok(RATE_LIMIT_POLICY.clone()));
        assert_eq!(FieldName::new(b"a b"), Err(BadEdit::Name));
        for name in [&b"X-Key"[..], b"accept", b"Host", b"connection", b"content-length", b"x-forwarded-for"]
        {
            let prepared = FieldName::new(name).unwrap();
            let (mut now, mut before) = (Overlay::take(), Overlay::take());
            let value = |out: &mut Vec<u8>| out.extend_from_slice(b"1");
            assert_eq!(before.append_with(&prepared, value), now.append(name, b"1"));
            assert_eq!(before.remove_named(&prepared), now.remove(name));
            assert_eq!(before.append_with(&prepared, value), now.append(name, b"1"));
            let added = |overlay: &Overlay| {
                let mut out = Vec::new();
                overlay.write_added(&mut out);
                out
            };
            let count = |overlay: &Overlay| overlay.edits.as_ref().map_or(0, |edits| edits.list.len());
            assert_eq!((count(&before), added(&before)), (count(&now), added(&now)));
        }
        let mut overlay = Overlay::take();
        assert_eq!(overlay.append_with(&RATE_LIMIT, |out| out.push(b'\n')), Err(BadEdit::Value));
        assert!(overlay.is_empty());
    }
}
