//! Edits to a head's fields, applied when it is written. What is not edited is never copied into a string.

use std::cell::RefCell;

use crate::field::{FieldId, FieldSet};
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

/// A range of the overlay's text.
#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    len: u32,
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
}

/// Edits in the order in which they were made: each sees what those before it left. Its memory comes from a free list of its
/// thread, so that a request costs no allocation.
#[derive(Debug, Default)]
pub struct Overlay {
    text: Vec<u8>,
    edits: Vec<Edit>,
    /// The ids that some edit names.
    touched: FieldSet,
}

/// Overlays' memory that a thread keeps.
const FREE_MAX: usize = 256;
/// A larger text is freed.
const FREE_TEXT_BYTES_MAX: usize = 16 * 1024;

type Memory = (Vec<u8>, Vec<Edit>);

thread_local! {
    static FREE: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

impl Overlay {
    /// No edits.
    #[must_use]
    pub fn take() -> Self {
        let (text, edits) = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        Self { text, edits, touched: FieldSet::EMPTY }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
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
    pub fn append_with(&mut self, name: &[u8], value: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadEdit> {
        self.add(Kind::Append, name, value)
    }

    /// Removes all fields of this name.
    ///
    /// # Errors
    /// [`BadEdit::Name`], [`BadEdit::Reserved`]; nothing changes then.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), BadEdit> {
        let id = editable(name)?;
        let name = self.keep(name);
        let none = Text { start: 0, len: 0 };
        self.push(Edit { kind: Kind::Remove, id, name, operand: none, operand_id: FieldId::Other });
        Ok(())
    }

    /// Gives all fields of this name another name. Fields that have that name already stay.
    ///
    /// # Errors
    /// [`BadEdit::Name`], [`BadEdit::Reserved`]; nothing changes then.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), BadEdit> {
        let id = editable(from)?;
        let operand_id = editable(to)?;
        let name = self.keep(from);
        let operand = self.keep(to);
        self.push(Edit { kind: Kind::Rename, id, name, operand, operand_id });
        // A later edit of the new name must see the renamed field.
        self.touched.insert(operand_id);
        Ok(())
    }

    /// As [`Self::set_with`] for a name of the table: it is not looked up and not checked again.
    ///
    /// # Errors
    /// [`BadEdit`]; nothing changes then.
    pub fn set_known(&mut self, id: FieldId, value: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadEdit> {
        if id == FieldId::Other || id.is_ours_to_write() || id == FieldId::Host {
            return Err(BadEdit::Reserved);
        }
        self.add_line(Kind::Set, id, id.name().as_bytes(), value)
    }

    fn add(&mut self, kind: Kind, name: &[u8], value: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadEdit> {
        let id = editable(name)?;
        self.add_line(kind, id, name, value)
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
        self.push(Edit { kind, id, name, operand, operand_id: FieldId::Other });
        Ok(())
    }

    fn push(&mut self, edit: Edit) {
        self.touched.insert(edit.id);
        self.edits.push(edit);
    }

    fn keep(&mut self, bytes: &[u8]) -> Text {
        let start = offset(self.text.len());
        self.text.extend_from_slice(bytes);
        Text { start, len: offset(bytes.len()) }
    }

    fn text(&self, text: Text) -> &[u8] {
        self.text.get(text.start as usize..text.start as usize + text.len as usize).unwrap_or_default()
    }

    /// Whether some edit names this one.
    #[inline]
    pub(crate) fn touches(&self, id: FieldId) -> bool {
        self.touched.contains(id)
    }

    /// The name under which a field of the head is written; `None`: it is not written.
    #[inline]
    pub(crate) fn name_of<'a>(&'a self, id: FieldId, name: &'a [u8]) -> Option<&'a [u8]> {
        if self.touched.contains(id) { self.fate(0, id, name) } else { Some(name) }
    }

    /// What the edits from `first` on make of a name.
    fn fate<'a>(&'a self, first: usize, mut id: FieldId, mut name: &'a [u8]) -> Option<&'a [u8]> {
        for edit in self.edits.get(first..).unwrap_or_default() {
            if edit.id != id || (id == FieldId::Other && !self.text(edit.name).eq_ignore_ascii_case(name)) {
                continue;
            }
            match edit.kind {
                Kind::Set | Kind::Remove => return None,
                Kind::Append => {}
                Kind::Rename => {
                    id = edit.operand_id;
                    name = self.text(edit.operand);
                }
            }
        }
        Some(name)
    }

    /// Name and value of each field that the edits add, in order.
    pub(crate) fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.edits.iter().enumerate().filter_map(|(at, edit)| {
            if !matches!(edit.kind, Kind::Set | Kind::Append) {
                return None;
            }
            let name = self.fate(at + 1, edit.id, self.text(edit.name))?;
            Some((name, self.text(edit.operand)))
        })
    }

    /// Writes the fields that the edits add, in order: lines that no later edit touches are copied together.
    pub(crate) fn write_added(&self, out: &mut Vec<u8>) {
        let mut run = 0..0;
        for (at, edit) in self.edits.iter().enumerate() {
            if !matches!(edit.kind, Kind::Set | Kind::Append) {
                continue;
            }
            let name = self.text(edit.name);
            let Some(fate) = self.fate(at + 1, edit.id, name) else { continue };
            let start = edit.name.start as usize;
            let end = edit.operand.start as usize + edit.operand.len as usize + 2;
            if std::ptr::eq(fate, name) {
                if run.end != start {
                    out.extend_from_slice(self.text.get(run).unwrap_or_default());
                    run = start..start;
                }
                run.end = end;
            } else {
                out.extend_from_slice(self.text.get(run).unwrap_or_default());
                run = 0..0;
                out.extend_from_slice(fate);
                // From the colon on, the line stands as it is.
                let rest = start + edit.name.len as usize..end;
                out.extend_from_slice(self.text.get(rest).unwrap_or_default());
            }
        }
        out.extend_from_slice(self.text.get(run).unwrap_or_default());
    }

    /// An upper bound of what the edits add to a head, in bytes.
    pub(crate) fn bytes_added(&self) -> usize {
        self.text.len() + self.edits.len() * 4
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        let mut edits = std::mem::take(&mut self.edits);
        if edits.capacity() == 0 || text.capacity() > FREE_TEXT_BYTES_MAX {
            return;
        }
        text.clear();
        edits.clear();
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_MAX {
                free.push((text, edits));
            }
        });
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The id of a name that may be edited.
fn editable(name: &[u8]) -> Result<FieldId, BadEdit> {
    let id = FieldId::of(name);
    // A name of the table is a token.
    if id == FieldId::Other && !is_token(name) {
        return Err(BadEdit::Name);
    }
    if id.is_ours_to_write() || id == FieldId::Host { Err(BadEdit::Reserved) } else { Ok(id) }
}
