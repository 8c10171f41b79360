//! A value with the row that describes it, so that a default stands in the key table and nowhere else.

use std::net::SocketAddr;

use crate::config::Value;
use crate::config::key::{Fallback, RowId, Schema};
use crate::config::scalar;

/// A value that may not be written.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    value: Option<&'a Value>,
    row: Option<RowId>,
}

impl<'a> View<'a> {
    /// Of the row at this path.
    pub(super) fn new(path: &str, value: &'a Value) -> Self {
        Self { value: Some(value), row: Schema::table().at(path) }
    }

    /// A key below.
    pub(super) fn at(&self, key: &str) -> Self {
        let row = self.row.and_then(|row| Schema::table().child(row, key)).map(|(_, row)| row);
        debug_assert!(row.is_some(), "no row for {key}");
        Self { value: self.value.and_then(|value| value.find(key)), row }
    }

    /// What is written.
    pub(super) fn value(&self) -> Option<&'a Value> {
        self.value
    }

    fn fallback(&self) -> Option<&'static str> {
        match self.row.map(|row| Schema::table().row(row).fallback) {
            Some(Fallback::Value(text)) => Some(text.trim_matches('"')),
            _ => None,
        }
    }

    /// A text, written or by default.
    pub(super) fn text(&self) -> &'a str {
        self.value.and_then(Value::text).or_else(|| self.fallback()).unwrap_or_default()
    }

    /// A written text.
    pub(super) fn written(&self) -> Option<&'a str> {
        self.value.and_then(Value::text)
    }

    /// A whole number, written or by default.
    pub(super) fn integer(&self) -> u64 {
        let fallback = || self.fallback().and_then(|text| text.parse().ok());
        self.value.and_then(Value::integer).or_else(fallback).unwrap_or_default()
    }

    /// As [`Self::integer`], for a key whose range fits.
    pub(super) fn small<T: TryFrom<u64> + Default>(&self) -> T {
        T::try_from(self.integer()).unwrap_or_default()
    }

    /// A truth value, written or by default.
    pub(super) fn bool(&self) -> bool {
        self.value.and_then(Value::bool).unwrap_or_else(|| self.fallback() == Some("true"))
    }

    /// Milliseconds, written or by default; a row's range fits 32 bits.
    pub(super) fn ms(&self) -> u32 {
        scalar::parse_duration(self.text()).ok().and_then(|ms| u32::try_from(ms).ok()).unwrap_or_default()
    }

    /// Bytes, written or by default.
    pub(super) fn bytes(&self) -> u64 {
        scalar::parse_size(self.text()).unwrap_or_default()
    }

    /// Bytes of a key whose range fits 32 bits.
    pub(super) fn small_bytes(&self) -> u32 {
        u32::try_from(self.bytes()).unwrap_or(u32::MAX)
    }

    /// An address, written or by default.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        scalar::socket_address(self.text()).ok()
    }

    /// The elements of a written list.
    pub(super) fn elements(&self) -> &'a [Value] {
        self.value.map(Value::elements).unwrap_or_default()
    }
}
