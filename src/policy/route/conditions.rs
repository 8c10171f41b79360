//! Whether the conditions of a route hold.

use std::borrow::Cow;

use ringway_snapshot::method;
use ringway_snapshot::rows::{ExtraRow, NONE, RouteRow};
use ringway_snapshot::tables::{Condition, Tables};
use ringway_wire::query;

use crate::route::expressions::RouteExpressions;
use crate::route::{FieldLookup, RouteQuery};

/// What is asked, prepared once for all routes that are tried.
pub(crate) struct Asked<'a> {
    pub(crate) tables: &'a Tables<'a>,
    expressions: &'a RouteExpressions,
    query: &'a RouteQuery<'a>,
    method: u16,
}

/// Whether a route takes the method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// It names it.
    Named,
    /// It is HEAD, and the route names GET (RFC 9110 §9.3.2).
    Implied,
    /// It names none.
    All,
    /// It names others.
    No,
}

/// The first condition that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unmet<'a> {
    /// The expression does not match the path.
    Path,
    /// The condition on this field.
    Header(&'a [u8]),
    /// The condition on this parameter.
    Query(&'a [u8]),
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        tables: &'a Tables<'a>,
        expressions: &'a RouteExpressions,
        query: &'a RouteQuery<'a>,
    ) -> Self {
        Self { tables, expressions, query, method: method::bit(query.method) }
    }

    #[inline]
    pub(crate) fn method(&self, row: &RouteRow) -> Takes {
        if row.methods == 0 {
            return Takes::All;
        }
        if row.methods & self.method == 0 {
            let implied = self.method == method::HEAD && row.methods & method::GET != 0;
            return if implied { Takes::Implied } else { Takes::No };
        }
        let other = || self.tables.other_methods(row).any(|name| name.as_bytes() == self.query.method);
        if self.method != method::OTHER || other() { Takes::Named } else { Takes::No }
    }

    /// Checks all conditions but the method.
    #[inline]
    pub(crate) fn conditions(&self, row: &RouteRow) -> Result<(), Unmet<'a>> {
        match self.tables.extra(row) {
            None => Ok(()),
            Some(extra) => self.extra(&extra),
        }
    }

    fn extra(&self, extra: &ExtraRow) -> Result<(), Unmet<'a>> {
        for (name, condition) in self.tables.headers(extra) {
            if !self.field(self.query.fields, name, condition) {
                return Err(Unmet::Header(name));
            }
        }
        for (name, condition) in self.tables.query(extra) {
            if !self.parameter(name, condition) {
                return Err(Unmet::Query(name));
            }
        }
        // Last, because it is the dearest.
        if extra.path_regex != NONE && !self.expressions.is_match(extra.path_regex, self.query.path) {
            return Err(Unmet::Path);
        }
        Ok(())
    }

    fn field(&self, fields: &dyn FieldLookup, name: &[u8], condition: Condition<'_>) -> bool {
        fields.any(name, &mut |value| match condition {
            Condition::Present => true,
            Condition::Exact(expected) => value == expected,
            Condition::Regex(index) => self.expressions.is_match(index, value),
        })
    }

    fn parameter(&self, name: &[u8], condition: Condition<'_>) -> bool {
        let own = |(raw, value)| query::decoded_eq(raw, name).then_some(value);
        query::parameters(self.query.query.unwrap_or_default()).filter_map(own).any(|value: &[u8]| {
            match condition {
                Condition::Present => true,
                Condition::Exact(expected) => query::decoded_eq(value, expected),
                Condition::Regex(index) => self.expressions.is_match(index, &decoded(value)),
            }
        })
    }
}

fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Cow::Owned(query::decoded(value).collect())
    } else {
        Cow::Borrowed(value)
    }
}
