//! The one pass over every index and range. What it lets through may be followed blindly.

use rkyv::api::high::{HighDeserializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;

use crate::error::{SemanticError, SnapshotError};
use crate::header::{Layout, Section};
use crate::limits::{HOST_REGEXES_MAX, PATH_SEGMENTS_MAX};
use crate::method;
use crate::model::{Action, LimitKey, Policy};
use crate::reader::Small;
use crate::rows::{
    ApplicationRow, ConditionKind, ConditionRow, CredentialRow, ExtraRow, HostKind, HostRow, MetaRow, NONE,
    NodeRow, PathKind, RouteRow, Row, SlotRow, TextRow, VariableRow, flag,
};
use crate::tables::{NodeIndex, RouteIndex, Tables};

type Checked = Result<(), SemanticError>;

/// Deserialises the small sections, and checks their indices.
pub(crate) fn small(bytes: &[u8], layout: &Layout) -> Result<Small, SnapshotError> {
    let small = Small {
        settings: archived(bytes, layout, Section::Settings)?,
        listeners: archived(bytes, layout, Section::Listeners)?,
        tls: archived(bytes, layout, Section::Tls)?,
        upstreams: archived(bytes, layout, Section::Upstreams)?,
        authenticators: archived(bytes, layout, Section::Authenticators)?,
        limits: archived(bytes, layout, Section::Limits)?,
        chains: archived(bytes, layout, Section::Chains)?,
        actions: archived(bytes, layout, Section::Actions)?,
    };
    small_indices(&small)?;
    Ok(small)
}

fn archived<T>(bytes: &[u8], layout: &Layout, section: Section) -> Result<T, SnapshotError>
where
    T: rkyv::Archive,
    T::Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>
        + rkyv::Deserialize<T, HighDeserializer<rancor::Error>>,
{
    rkyv::from_bytes::<T, rancor::Error>(layout.of(bytes, section))
        .map_err(|_| SnapshotError::Archive(section))
}

/// Every index of the small sections leads to a row of the section that it means.
pub(crate) fn small_indices(small: &Small) -> Checked {
    let below = |index: u32, length: usize| (index as usize) < length;
    for (row, listener) in small.listeners.iter().enumerate() {
        let fine = listener.tls.is_none_or(|tls| below(tls, small.tls.len()));
        ensure(fine, Section::Listeners, row, "there is no such TLS profile")?;
    }
    for (row, upstream) in small.upstreams.iter().enumerate() {
        ensure(!upstream.endpoints.is_empty(), Section::Upstreams, row, "it has no endpoint")?;
    }
    for (row, limit) in small.limits.iter().enumerate() {
        let fine = limit.count > 0 && limit.per_ms > 0 && limit.burst > 0;
        ensure(fine, Section::Limits, row, "a rate of zero")?;
        let fine = match limit.by {
            LimitKey::Ip { v4_bits, v6_bits } => v4_bits <= 32 && v6_bits <= 128,
            _ => true,
        };
        ensure(fine, Section::Limits, row, "an address has fewer bits")?;
    }
    ensure(!small.chains.is_empty(), Section::Chains, 0, "the empty chain is missing")?;
    for (row, chain) in small.chains.iter().enumerate() {
        ensure(row > 0 || chain.steps.is_empty(), Section::Chains, row, "the empty chain is not empty")?;
        for step in &chain.steps {
            let fine = match &step.policy {
                Policy::Authenticate { any_of, .. } => {
                    !any_of.is_empty() && any_of.iter().all(|one| below(*one, small.authenticators.len()))
                }
                Policy::Limit(limit) => below(*limit, small.limits.len()),
                Policy::Headers { .. } => true,
            };
            ensure(fine, Section::Chains, row, "there is no such authenticator or limit")?;
        }
    }
    for (row, action) in small.actions.iter().enumerate() {
        let (fine, what) = match action {
            Action::Proxy { upstream, .. } => {
                (below(*upstream, small.upstreams.len()), "there is no such upstream")
            }
            Action::Redirect { status, .. } => {
                (matches!(status, 301 | 302 | 303 | 307 | 308), "no status of a redirect")
            }
            Action::Respond { status, .. } => ((200..=599).contains(status), "no final status"),
        };
        ensure(fine, Section::Actions, row, what)?;
    }
    Ok(())
}

/// Checks every row of the big sections.
pub(crate) fn tables(bytes: &[u8], layout: &Layout, small: &Small) -> Result<(), SnapshotError> {
    widths(bytes, layout)?;
    let tables = Tables::of(bytes, layout);
    let arena = std::str::from_utf8(tables.arena).map_err(|_| semantic(Section::Arena, 0, "not UTF-8"))?;
    let check = Check { tables, arena, small };
    check.meta()?;
    check.hosts()?;
    check.routes()?;
    check.extras()?;
    check.nodes()?;
    check.slots()?;
    check.identities()?;
    Ok(())
}

/// Every section is a whole number of rows, and fewer than an index can count.
fn widths(bytes: &[u8], layout: &Layout) -> Checked {
    let widths = [
        (Section::Meta, MetaRow::SIZE),
        (Section::Arena, 1),
        (Section::HostSlots, SlotRow::SIZE),
        (Section::Hosts, HostRow::SIZE),
        (Section::PathSlots, SlotRow::SIZE),
        (Section::Routes, RouteRow::SIZE),
        (Section::Extras, ExtraRow::SIZE),
        (Section::Conditions, ConditionRow::SIZE),
        (Section::Methods, TextRow::SIZE),
        (Section::Variables, VariableRow::SIZE),
        (Section::Regexes, TextRow::SIZE),
        (Section::NodeSlots, SlotRow::SIZE),
        (Section::Nodes, NodeRow::SIZE),
        (Section::CredentialSlots, SlotRow::SIZE),
        (Section::Credentials, CredentialRow::SIZE),
        (Section::Applications, ApplicationRow::SIZE),
    ];
    for (section, width) in widths {
        let length = layout.of(bytes, section).len();
        ensure(length.is_multiple_of(width), section, length / width, "a piece of a row")?;
        ensure(length / width < NONE as usize, section, 0, "more rows than an index can count")?;
    }
    let meta = layout.of(bytes, Section::Meta).len();
    ensure(meta == MetaRow::SIZE, Section::Meta, 0, "not exactly one row")
}

struct Check<'a> {
    tables: Tables<'a>,
    arena: &'a str,
    small: &'a Small,
}

impl Check<'_> {
    fn meta(&self) -> Checked {
        let meta = &self.tables.meta;
        let any = meta.any_host;
        let fine = any == NONE
            || self
                .tables
                .hosts
                .get(any as usize)
                .is_some_and(|row| HostRow::read(row).kind == HostKind::Any as u8);
        ensure(fine && meta.reserved == 0, Section::Meta, 0, "there is no such host")
    }

    /// A range of the arena that is text by itself.
    fn text(&self, offset: u32, length: usize) -> bool {
        let start = offset as usize;
        self.arena.is_char_boundary(start) && self.arena.is_char_boundary(start.saturating_add(length))
    }

    /// Hosts share the routes out among them, in order and without a gap.
    fn hosts(&self) -> Checked {
        let mut next = 0_u32;
        for (at, bytes) in self.tables.hosts.iter().enumerate() {
            let row = HostRow::read(bytes);
            let ensure = |holds, what| ensure(holds, Section::Hosts, at, what);
            ensure(self.text(row.name_offset, row.name_length.into()), "its name is no text")?;
            ensure(HostKind::of(row.kind).is_some(), "there is no such kind")?;
            ensure(row.path_policy <= 2, "there is no such path policy")?;
            ensure(row.exact <= 1, "a flag is 0 or 1")?;
            ensure(row.route_first == next, "its routes do not follow those of the host before")?;
            next = next.checked_add(row.route_count).unwrap_or(NONE);
            ensure(next as usize <= self.tables.routes.len(), "there are fewer routes")?;
            ensure(u32::from(row.regex_count) <= row.route_count, "more expressions than routes")?;
            ensure(row.regex_count <= HOST_REGEXES_MAX, "too many expressions")?;
            ensure(row.depth <= PATH_SEGMENTS_MAX, "too deep")?;
            let deepest = (u64::BITS - row.prefix_depths.leading_zeros()).saturating_sub(1);
            ensure(deepest <= u32::from(row.depth), "a prefix is deeper than the host")?;
            let root = row.template_root;
            let fine = root == NONE
                || self
                    .tables
                    .node(NodeIndex(root))
                    .is_some_and(|node| node.kind == 0 && node.parent == NONE);
            ensure(fine, "the root of its templates is none")?;
            self.group_end(at, &row)?;
        }
        let all = next as usize == self.tables.routes.len();
        ensure(all, Section::Hosts, self.tables.hosts.len(), "routes are left that belong to no host")
    }

    /// No group of routes reaches over the end of its host, or into its expressions.
    fn group_end(&self, at: usize, host: &HostRow) -> Checked {
        let regexes = u32::from(host.regex_count);
        for end in [host.route_count, host.route_count - regexes] {
            let Some(last) = end.checked_sub(1) else { continue };
            let route = self.tables.route(RouteIndex(host.route_first + last));
            let fine = route.is_some_and(|row| row.has(flag::GROUP_LAST));
            ensure(fine, Section::Hosts, at, "a group of routes reaches over its end")?;
        }
        Ok(())
    }

    fn routes(&self) -> Checked {
        for (at, bytes) in self.tables.routes.iter().enumerate() {
            let row = RouteRow::read(bytes);
            let ensure = |holds, what| ensure(holds, Section::Routes, at, what);
            ensure(row.flags & !flag::ALL == 0, "there is no such flag")?;
            ensure(self.text(row.text_offset, row.name_length.into()), "its name is no text")?;
            let tail = if row.has(flag::PATH_BEFORE_STAR) { 2 } else { 0 };
            let inside = row.has(flag::PATH_IN_NAME | flag::PATH_BEFORE_STAR);
            let fits = usize::from(row.path_length) + tail <= usize::from(row.name_length);
            ensure(!inside || fits, "its path is longer than its name")?;
            let reach = usize::from(row.path_start()) + usize::from(row.path_length);
            ensure(row.text_offset as usize + reach <= self.arena.len(), "its path is outside the arena")?;
            ensure((row.chain as usize) < self.small.chains.len(), "there is no such chain")?;
            ensure((row.action as usize) < self.small.actions.len(), "there is no such action")?;
            let extra = self.tables.extra(&row);
            ensure(row.extra == NONE || extra.is_some(), "there is no such extra")?;
            ensure(row.methods & !method::ALL == 0, "there is no such method")?;
            let others = extra.is_some_and(|extra| extra.method_count > 0);
            ensure((row.methods & method::OTHER != 0) == others, "its other methods are missing")?;
            let regex = extra.is_some_and(|extra| extra.path_regex != NONE);
            match row.kind() {
                None => ensure(false, "there is no such kind of path")?,
                Some(PathKind::Regex) => ensure(regex, "its expression is missing")?,
                Some(_) => ensure(!regex, "it has an expression and is of another kind")?,
            }
        }
        Ok(())
    }

    fn extras(&self) -> Checked {
        let within = |first: u32, count: u16, length: usize| first as usize + usize::from(count) <= length;
        let tables = &self.tables;
        for (at, bytes) in tables.extras.iter().enumerate() {
            let row = ExtraRow::read(bytes);
            let ranges = [
                (row.method_first, row.method_count, tables.methods.len()),
                (row.header_first, row.header_count, tables.conditions.len()),
                (row.query_first, row.query_count, tables.conditions.len()),
                (row.variable_first, row.variable_count, tables.variables.len()),
            ];
            let fine = ranges.iter().all(|(first, count, length)| within(*first, *count, *length));
            ensure(fine, Section::Extras, at, "a range reaches over the end")?;
            let fine = row.path_regex == NONE || (row.path_regex as usize) < tables.regexes.len();
            ensure(fine, Section::Extras, at, "there is no such expression")?;
        }
        for (at, bytes) in tables.conditions.iter().enumerate() {
            let row = ConditionRow::read(bytes);
            let ensure = |holds, what| ensure(holds, Section::Conditions, at, what);
            ensure(self.text(row.name_offset, row.name_length.into()), "its name is no text")?;
            match ConditionKind::of(row.kind) {
                None => ensure(false, "there is no such kind")?,
                Some(ConditionKind::Present) => {}
                Some(ConditionKind::Exact) => {
                    ensure(self.text(row.value, row.value_length.into()), "its value is no text")?;
                }
                Some(ConditionKind::Regex) => {
                    ensure((row.value as usize) < tables.regexes.len(), "there is no such expression")?;
                }
            }
        }
        self.texts(tables.methods, Section::Methods)?;
        self.texts(tables.regexes, Section::Regexes)?;
        for (at, bytes) in tables.variables.iter().enumerate() {
            let row = VariableRow::read(bytes);
            let fine = self.text(row.name_offset, row.name_length.into());
            ensure(fine, Section::Variables, at, "its name is no text")?;
        }
        Ok(())
    }

    fn texts(&self, rows: &[[u8; TextRow::SIZE]], section: Section) -> Checked {
        for (at, bytes) in rows.iter().enumerate() {
            let row = TextRow::read(bytes);
            ensure(self.text(row.offset, row.length.into()), section, at, "no text")?;
        }
        Ok(())
    }

    /// Nodes point forward alone, so that no walk goes round; what ends at them are templates.
    fn nodes(&self) -> Checked {
        let rows = self.tables.hosts.iter().map(HostRow::read);
        let mut owners = rows.filter(|host| host.template_root != NONE);
        let mut owner = None;
        for (at, bytes) in self.tables.nodes.iter().enumerate() {
            let row = NodeRow::read(bytes);
            let ensure = |holds, what| ensure(holds, Section::Nodes, at, what);
            if row.kind == 0 {
                owner = owners.next();
            }
            let Some(host) = owner.filter(|host| host.template_root as usize <= at) else {
                return ensure(false, "it belongs to no host");
            };
            let root = row.kind != 0 || host.template_root as usize == at;
            ensure(root && (row.parent == NONE || row.parent >= host.template_root), "it is another host's")?;
            ensure(self.text(row.text_offset, row.text_length.into()), "its segment is no text")?;
            ensure(row.kind <= 2, "there is no such kind")?;
            ensure((row.kind == 0) == (row.parent == NONE), "a root has no parent, all others one")?;
            ensure(row.parent == NONE || (row.parent as usize) < at, "its parent does not stand before it")?;
            let fine = row.variable == NONE
                || (row.variable as usize > at
                    && self
                        .tables
                        .node(NodeIndex(row.variable))
                        .is_some_and(|below| below.parent as usize == at && below.kind == 2));
            ensure(fine, "its variable is not below it")?;
            for (route, kind) in [(row.end, PathKind::Template), (row.rest, PathKind::TemplateRest)] {
                let fine = route == NONE || self.group(&host, route, kind);
                ensure(fine, "no group of such routes begins at its end")?;
            }
        }
        ensure(owners.next().is_none(), Section::Nodes, self.tables.nodes.len(), "a host's root is missing")
    }

    /// Whether a host's group of routes of this kind begins here.
    fn group(&self, host: &HostRow, route: u32, kind: PathKind) -> bool {
        let Some(within) = route.checked_sub(host.route_first) else { return false };
        let before = route.checked_sub(1).and_then(|before| self.tables.route(RouteIndex(before)));
        within < host.route_count
            && self.tables.route(RouteIndex(route)).is_some_and(|row| row.kind() == Some(kind))
            && (within == 0 || before.is_some_and(|row| row.has(flag::GROUP_LAST)))
    }

    fn slots(&self) -> Checked {
        let tables = &self.tables;
        let all = [
            (tables.host_slots, Section::HostSlots, tables.hosts.len()),
            (tables.path_slots, Section::PathSlots, tables.routes.len()),
            (tables.node_slots, Section::NodeSlots, tables.nodes.len()),
            (tables.credential_slots, Section::CredentialSlots, tables.credentials.len()),
        ];
        for (slots, section, length) in all {
            for (at, bytes) in slots.iter().enumerate() {
                let index = SlotRow::read(bytes).index;
                ensure(index == NONE || (index as usize) < length, section, at, "there is no such row")?;
            }
        }
        Ok(())
    }

    /// Applications share the credentials out among them, in order and without a gap; those that a chain lets pass are theirs.
    fn identities(&self) -> Checked {
        self.allowed()?;
        let mut next = 0_u32;
        for (at, bytes) in self.tables.applications.iter().enumerate() {
            let row = ApplicationRow::read(bytes);
            let ensure = |holds, what| ensure(holds, Section::Applications, at, what);
            ensure(self.text(row.name_offset, row.name_length.into()), "its name is no text")?;
            ensure(row.credential_first == next, "its credentials do not follow those before")?;
            let end = next.checked_add(row.credential_count).unwrap_or(NONE);
            let own = self.tables.credentials.get(next as usize..end as usize);
            let fine = own.is_some_and(|own| {
                own.iter().all(|bytes| CredentialRow::read(bytes).application as usize == at)
            });
            ensure(fine, "its credentials are missing or another's")?;
            next = end;
        }
        for (at, bytes) in self.tables.credentials.iter().enumerate() {
            let row = CredentialRow::read(bytes);
            let fine = (row.application as usize) < self.tables.applications.len();
            ensure(fine, Section::Credentials, at, "there is no such application")?;
            let fine = self.text(row.prefix_offset, row.prefix_length.into());
            ensure(fine, Section::Credentials, at, "its prefix is no text")?;
        }
        let all = next as usize == self.tables.credentials.len();
        ensure(all, Section::Credentials, next as usize, "a credential belongs to no application")
    }

    /// Applications that a step lets pass are there, ascending and each once: they are searched by halves.
    fn allowed(&self) -> Checked {
        for (row, chain) in self.small.chains.iter().enumerate() {
            for step in &chain.steps {
                let Policy::Authenticate { applications, .. } = &step.policy else { continue };
                let count = self.tables.applications.len();
                let there = applications.last().is_none_or(|last| (*last as usize) < count);
                let ascend = applications.is_sorted_by(|one, next| one < next);
                ensure(
                    there && ascend,
                    Section::Chains,
                    row,
                    "there is no such application, or it is out of order",
                )?;
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn ensure(holds: bool, section: Section, row: usize, what: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(semantic(section, row, what)) }
}

#[cold]
fn semantic(section: Section, row: usize, what: &'static str) -> SemanticError {
    SemanticError { section, row: u32::try_from(row).unwrap_or(NONE), what }
}

#[cfg(test)]
mod tests;
