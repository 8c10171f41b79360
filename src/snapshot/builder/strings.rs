//! The string arena: every text once.

use crate::builder::BuildError;
use crate::hash;

/// An arena that is filled, with a table to find what is already there.
#[derive(Default)]
pub(crate) struct Strings {
    arena: Vec<u8>,
    /// (offset + 1, length) of texts; 0 is an empty slot. Always a power of two, at most half full.
    slots: Vec<(u32, u16)>,
    count: usize,
}

impl Strings {
    /// Offset and length of a text, which is added where it is new.
    pub(crate) fn add(&mut self, text: &[u8], what: &'static str) -> Result<(u32, u16), BuildError> {
        let length = super::length_of(text.len(), what)?;
        if text.is_empty() {
            return Ok((0, 0));
        }
        if self.count * 2 >= self.slots.len() {
            self.grow();
        }
        let at = self.place(text);
        match self.slots.get(at) {
            Some((0, _)) | None => {}
            Some((offset, length)) => return Ok((offset - 1, *length)),
        }
        let offset = super::index_of(self.arena.len() + text.len(), "the string arena")? - u32::from(length);
        self.arena.extend_from_slice(text);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = (offset + 1, length);
        }
        self.count += 1;
        Ok((offset, length))
    }

    /// The text at a place that [`Strings::add`] gave.
    pub(crate) fn get(&self, offset: u32, length: u16) -> &[u8] {
        let offset = offset as usize;
        self.arena.get(offset..offset + usize::from(length)).unwrap_or_default()
    }

    pub(crate) fn arena(&self) -> &[u8] {
        &self.arena
    }

    pub(crate) fn into_arena(self) -> Vec<u8> {
        self.arena
    }

    /// Where the text stands or would stand.
    fn place(&self, text: &[u8]) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash::bytes(0, text) as usize & mask;
        while let Some((offset, length)) = self.slots.get(at)
            && *offset != 0
            && self.get(offset - 1, *length) != text
        {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let larger = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![(0, 0); larger]);
        for (offset, length) in old.into_iter().filter(|(offset, _)| *offset != 0) {
            let at = self.place(self.get(offset - 1, length));
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = (offset, length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Strings;

    #[test]
    fn a_text_is_kept_once() {
        let mut strings = Strings::default();
        let texts: Vec<String> = (0..1000).map(|n| format!("text {}", n % 300)).collect();
        let places: Vec<_> = texts.iter().map(|text| strings.add(text.as_bytes(), "").unwrap()).collect();
        for (text, (offset, length)) in texts.iter().zip(&places) {
            assert_eq!(strings.get(*offset, *length), text.as_bytes());
        }
        assert_eq!(places[0], places[300]);
        let distinct: usize = texts[..300].iter().map(String::len).sum();
        assert_eq!(strings.arena().len(), distinct);
    }
}
