//! Taking credentials out of what is forwarded.

use ringway_snapshot::model::CredentialPlace;
use ringway_wire::{BadEdit, FieldId, Overlay, RequestHead, cookie, query};

use super::{Authenticator, shown_cookies, shown_parameters};
use crate::chain::Query;

/// The places that are emptied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hides {
    fields: Vec<Vec<u8>>,
    parameters: Vec<Vec<u8>>,
    cookies: Vec<Vec<u8>>,
}

impl Hides {
    /// Adds the place of an authenticator, if it hides what stands there.
    pub(crate) fn add(&mut self, authenticator: &Authenticator) {
        if authenticator.hides() {
            let (list, name) = match authenticator.place() {
                CredentialPlace::Header(name) => (&mut self.fields, name),
                CredentialPlace::Query(name) => (&mut self.parameters, name),
                CredentialPlace::Cookie(name) => (&mut self.cookies, name),
            };
            list.push(name.as_bytes().to_vec());
        }
    }

    /// Takes the credentials out, all of them, whichever one proved the caller: fields and cookies by the overlay, parameters
    /// by the query that it gives. What has none is not touched.
    ///
    /// # Errors
    /// [`BadEdit`], which names that were prepared never give.
    pub(crate) fn apply(
        &self,
        head: &RequestHead,
        overlay: &mut Overlay,
        query: &mut Query,
    ) -> Result<(), BadEdit> {
        for name in &self.fields {
            if head.field_named(name).is_some() {
                overlay.remove(name)?;
            }
        }
        if !self.parameters.is_empty() {
            *query = self.query_of(head);
        }
        if self.cookies.is_empty() { Ok(()) } else { self.hide_cookies(head, overlay) }
    }

    fn query_of(&self, head: &RequestHead) -> Query {
        let mut left: Option<Vec<u8>> = None;
        for name in &self.parameters {
            let query = left.as_deref().or(head.query());
            if shown_parameters(query, name).next().is_none() {
                continue;
            }
            let query = query.unwrap_or_default();
            let mut out = Vec::with_capacity(query.len());
            if !query::write_without(query, name, &mut out) {
                return Query::Removed;
            }
            left = Some(out);
        }
        left.map_or(Query::Kept, Query::Replaced)
    }

    fn hide_cookies(&self, head: &RequestHead, overlay: &mut Overlay) -> Result<(), BadEdit> {
        if !self.cookies.iter().any(|name| shown_cookies(head, name).next().is_some()) {
            return Ok(());
        }
        // Several lines become one, as RFC 6265 has it.
        let mut left = head.values(FieldId::Cookie).collect::<Vec<_>>().join(b"; ".as_slice());
        for name in &self.cookies {
            let mut out = Vec::with_capacity(left.len());
            cookie::write_without(&left, name, &mut out);
            left = out;
        }
        if left.is_empty() { overlay.remove(b"Cookie") } else { overlay.set(b"Cookie", &left) }
    }
}
