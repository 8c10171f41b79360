//! The big sections, read in place: views of the owner's bytes that are made once.
//!
//! Every read is checked and none allocates. Rows of a validated snapshot always exist, so `None` from an index that
//! the same snapshot gave out cannot happen; one from another generation gives `None` or another row, never a panic.

use yoke::Yokeable;

use crate::hash::{self, Space};
use crate::header::{Layout, Section};
use crate::method;
use crate::rows::{
    ApplicationRow, ConditionKind, ConditionRow, CredentialRow, ExtraRow, HostKind, HostRow, MetaRow, NONE,
    NodeRow, PathKind, RouteRow, Row, SlotRow, TextRow, VariableRow,
};

macro_rules! indices {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);
    )*};
}

indices! {
    /// A host of one generation.
    HostIndex;
    /// A route of one generation. Dense: `0..route_count`.
    RouteIndex;
    /// A node of the templates of one generation.
    NodeIndex;
    /// A credential of one generation.
    CredentialIndex;
    /// An application of one generation.
    ApplicationIndex;
}

/// A condition on a value, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Equal bytes.
    Exact(&'a [u8]),
    /// There, whatever it is.
    Present,
    /// Matches this expression: an index into [`Tables::regexes`].
    Regex(u32),
}

/// Views of all big sections.
#[derive(Debug, Clone, Copy, Yokeable)]
pub struct Tables<'a> {
    pub(crate) meta: MetaRow,
    pub(crate) arena: &'a [u8],
    pub(crate) host_slots: &'a [[u8; SlotRow::SIZE]],
    pub(crate) hosts: &'a [[u8; HostRow::SIZE]],
    pub(crate) path_slots: &'a [[u8; SlotRow::SIZE]],
    pub(crate) routes: &'a [[u8; RouteRow::SIZE]],
    pub(crate) extras: &'a [[u8; ExtraRow::SIZE]],
    pub(crate) conditions: &'a [[u8; ConditionRow::SIZE]],
    pub(crate) methods: &'a [[u8; TextRow::SIZE]],
    pub(crate) variables: &'a [[u8; VariableRow::SIZE]],
    pub(crate) regexes: &'a [[u8; TextRow::SIZE]],
    pub(crate) node_slots: &'a [[u8; SlotRow::SIZE]],
    pub(crate) nodes: &'a [[u8; NodeRow::SIZE]],
    pub(crate) credential_slots: &'a [[u8; SlotRow::SIZE]],
    pub(crate) credentials: &'a [[u8; CredentialRow::SIZE]],
    pub(crate) applications: &'a [[u8; ApplicationRow::SIZE]],
}

impl<'a> Tables<'a> {
    #[inline]
    pub(crate) fn of(bytes: &'a [u8], layout: &Layout) -> Self {
        let section = |section| layout.of(bytes, section);
        let meta = MetaRow::rows(section(Section::Meta)).first();
        Self {
            meta: MetaRow::read(meta.unwrap_or(&[0; MetaRow::SIZE])),
            arena: section(Section::Arena),
            host_slots: SlotRow::rows(section(Section::HostSlots)),
            hosts: HostRow::rows(section(Section::Hosts)),
            path_slots: SlotRow::rows(section(Section::PathSlots)),
            routes: RouteRow::rows(section(Section::Routes)),
            extras: ExtraRow::rows(section(Section::Extras)),
            conditions: ConditionRow::rows(section(Section::Conditions)),
            methods: TextRow::rows(section(Section::Methods)),
            variables: VariableRow::rows(section(Section::Variables)),
            regexes: TextRow::rows(section(Section::Regexes)),
            node_slots: SlotRow::rows(section(Section::NodeSlots)),
            nodes: NodeRow::rows(section(Section::Nodes)),
            credential_slots: SlotRow::rows(section(Section::CredentialSlots)),
            credentials: CredentialRow::rows(section(Section::Credentials)),
            applications: ApplicationRow::rows(section(Section::Applications)),
        }
    }

    #[inline]
    pub(crate) fn bytes(&self, offset: u32, length: u16) -> &'a [u8] {
        let offset = offset as usize;
        self.arena.get(offset..offset + usize::from(length)).unwrap_or_default()
    }

    fn text(&self, offset: u32, length: u16) -> &'a str {
        std::str::from_utf8(self.bytes(offset, length)).unwrap_or_default()
    }

    /// How many hosts there are.
    #[must_use]
    pub fn host_count(&self) -> u32 {
        self.hosts.len() as u32
    }

    /// How many routes there are.
    #[must_use]
    pub fn route_count(&self) -> u32 {
        self.routes.len() as u32
    }

    /// The host that answers to a name: the exact one, else the wildcard with the longest suffix, else the one
    /// that takes any. `name` is lower case and has no port; one dot at its end is not part of it.
    #[must_use]
    #[inline]
    pub fn find_host(&self, name: &[u8]) -> Option<HostIndex> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        if let Some(host) = self.host_named(Space::HostExact, HostKind::Exact, name) {
            return Some(host);
        }
        let labels_max = self.meta.wildcard_labels_max as usize;
        if labels_max > 0
            && let Some(host) = self.find_wildcard(name, labels_max)
        {
            return Some(host);
        }
        (self.meta.any_host != NONE).then_some(HostIndex(self.meta.any_host))
    }

    fn find_wildcard(&self, name: &[u8], labels_max: usize) -> Option<HostIndex> {
        // Suffixes of more labels than any wildcard has are not even hashed: a name of a hundred labels
        // costs no more than one of few.
        let mut start = name.len();
        for _ in 0..labels_max {
            let before = name.get(..start)?;
            match before.iter().rposition(|byte| *byte == b'.') {
                Some(dot) => start = dot,
                None => break,
            }
        }
        while start < name.len() {
            // INVARIANT: `start` is at a dot, or at 0 where the name has few labels.
            if name.get(start) == Some(&b'.')
                && start > 0
                && let Some(suffix) = name.get(start + 1..)
                && let Some(host) = self.host_named(Space::HostWildcard, HostKind::Wildcard, suffix)
            {
                return Some(host);
            }
            let after = name.get(start + 1..)?;
            start = after.iter().position(|byte| *byte == b'.').map_or(name.len(), |dot| start + 1 + dot);
        }
        None
    }

    #[inline]
    fn host_named(&self, space: Space, kind: HostKind, name: &[u8]) -> Option<HostIndex> {
        let hash = hash::bytes(space.seed(self.meta.seed, 0), name);
        hash::find(self.host_slots, hash, |index| {
            self.host(HostIndex(index)).is_some_and(|row| {
                row.kind == kind as u8 && self.bytes(row.name_offset, row.name_length) == name
            })
        })
        .map(HostIndex)
    }

    /// A host's row.
    #[must_use]
    #[inline]
    pub fn host(&self, host: HostIndex) -> Option<HostRow> {
        self.hosts.get(host.0 as usize).map(HostRow::read)
    }

    /// The host's name as a definition writes it: `api.example.com`, `*.example.com`, `*`.
    #[must_use]
    pub fn host_name(&self, host: HostIndex) -> String {
        let Some(row) = self.host(host) else { return String::new() };
        let name = self.text(row.name_offset, row.name_length);
        match HostKind::of(row.kind) {
            Some(HostKind::Wildcard) => format!("*.{name}"),
            Some(HostKind::Any) => "*".to_owned(),
            _ => name.to_owned(),
        }
    }

    /// The host that a route belongs to.
    #[must_use]
    pub fn host_of(&self, route: RouteIndex) -> Option<HostIndex> {
        let after = self.hosts.partition_point(|bytes| HostRow::read(bytes).route_first <= route.0);
        // Hosts without routes share their start with the next one, which is the owner.
        after.checked_sub(1).map(|at| HostIndex(at as u32))
    }

    /// A route's row.
    #[must_use]
    #[inline]
    pub fn route(&self, route: RouteIndex) -> Option<RouteRow> {
        self.routes.get(route.0 as usize).map(RouteRow::read)
    }

    /// The route's name, as it was declared.
    #[must_use]
    pub fn route_name(&self, route: RouteIndex) -> &'a str {
        self.route(route).map_or("", |row| self.text(row.text_offset, row.name_length))
    }

    /// The path of an exact or prefix route; empty for others.
    #[must_use]
    #[inline]
    pub fn route_path(&self, row: &RouteRow) -> &'a [u8] {
        self.bytes(row.text_offset.saturating_add(row.path_start().into()), row.path_length)
    }

    /// The first route of the group with exactly this path.
    #[must_use]
    #[inline]
    pub fn find_exact(&self, host: HostIndex, row: &HostRow, path: &[u8]) -> Option<RouteIndex> {
        let hash = hash::bytes(Space::PathExact.seed(self.meta.seed, host.0), path);
        self.find_path(row, hash, PathKind::Exact, path)
    }

    /// Start of the running hash of a path's prefixes; [`Tables::prefix_next`] carries it over each segment.
    #[must_use]
    #[inline]
    pub fn prefix_start(&self, host: HostIndex) -> u64 {
        Space::PathPrefix.seed(self.meta.seed, host.0)
    }

    /// Carries the running hash over one segment.
    #[must_use]
    #[inline]
    pub fn prefix_next(hash: u64, segment: &[u8]) -> u64 {
        hash::bytes(hash, segment)
    }

    /// The first route of the group with this prefix, whose running hash is `hash`.
    #[must_use]
    #[inline]
    pub fn find_prefix(&self, row: &HostRow, hash: u64, prefix: &[u8]) -> Option<RouteIndex> {
        self.find_path(row, hash, PathKind::Prefix, prefix)
    }

    #[inline]
    fn find_path(&self, host: &HostRow, hash: u64, kind: PathKind, path: &[u8]) -> Option<RouteIndex> {
        hash::find(self.path_slots, hash, |index| {
            // The same path stands in many hosts: the route has to be one of this host's.
            index.wrapping_sub(host.route_first) < host.route_count
                && self.route(RouteIndex(index)).is_some_and(|row| {
                    row.kind() == Some(kind)
                        && usize::from(row.path_length) == path.len()
                        && self.route_path(&row) == path
                })
        })
        .map(RouteIndex)
    }

    /// A node of the templates.
    #[must_use]
    #[inline]
    pub fn node(&self, node: NodeIndex) -> Option<NodeRow> {
        self.nodes.get(node.0 as usize).map(NodeRow::read)
    }

    /// The node below `node` for this literal segment.
    #[must_use]
    #[inline]
    pub fn child(&self, node: NodeIndex, segment: &[u8]) -> Option<NodeIndex> {
        let hash = hash::bytes(Space::Node.seed(self.meta.seed, node.0), segment);
        hash::find(self.node_slots, hash, |index| {
            self.node(NodeIndex(index)).is_some_and(|row| {
                row.parent == node.0 && self.bytes(row.text_offset, row.text_length) == segment
            })
        })
        .map(NodeIndex)
    }

    /// What only few routes have.
    #[must_use]
    #[inline]
    pub fn extra(&self, row: &RouteRow) -> Option<ExtraRow> {
        if row.extra == NONE {
            return None;
        }
        self.extras.get(row.extra as usize).map(ExtraRow::read)
    }

    /// Largest request body of a route, if it has its own.
    #[must_use]
    pub fn body_bytes_max(&self, row: &RouteRow) -> Option<u64> {
        self.extra(row).map(|extra| extra.body_bytes_max).filter(|max| *max != u64::MAX)
    }

    /// All methods that a route names; none: it takes all.
    #[must_use]
    pub fn methods(&self, row: &RouteRow) -> Vec<&'a str> {
        let mut names: Vec<&'a str> = method::names(row.methods).collect();
        names.extend(self.other_methods(row));
        names
    }

    /// The methods of a route that have no bit.
    pub fn other_methods(&self, row: &RouteRow) -> impl Iterator<Item = &'a str> + use<'a> {
        let tables = *self;
        let extra = if row.methods & method::OTHER == 0 { None } else { self.extra(row) };
        let (first, count) = extra.map_or((0, 0), |extra| (extra.method_first, extra.method_count));
        range(self.methods, first, count).iter().map(move |bytes| {
            let row = TextRow::read(bytes);
            tables.text(row.offset, row.length)
        })
    }

    /// Conditions on fields: name in lower case, and what it asks.
    pub fn headers(&self, extra: &ExtraRow) -> impl Iterator<Item = (&'a [u8], Condition<'a>)> + use<'a> {
        self.conditions_of(extra.header_first, extra.header_count)
    }

    /// Conditions on parameters.
    pub fn query(&self, extra: &ExtraRow) -> impl Iterator<Item = (&'a [u8], Condition<'a>)> + use<'a> {
        self.conditions_of(extra.query_first, extra.query_count)
    }

    #[inline]
    fn conditions_of(
        &self,
        first: u32,
        count: u16,
    ) -> impl Iterator<Item = (&'a [u8], Condition<'a>)> + use<'a> {
        let tables = *self;
        range(self.conditions, first, count).iter().map(move |bytes| {
            let row = ConditionRow::read(bytes);
            let condition = match ConditionKind::of(row.kind) {
                Some(ConditionKind::Present) => Condition::Present,
                Some(ConditionKind::Regex) => Condition::Regex(row.value),
                // A kind that does not exist was refused when the snapshot was opened.
                _ => Condition::Exact(tables.bytes(row.value, row.value_length)),
            };
            (tables.bytes(row.name_offset, row.name_length), condition)
        })
    }

    /// Variables of a template: name, and which segment of the path is its value.
    pub fn variables(&self, extra: &ExtraRow) -> impl Iterator<Item = (&'a str, u16)> + use<'a> {
        let tables = *self;
        range(self.variables, extra.variable_first, extra.variable_count).iter().map(move |bytes| {
            let row = VariableRow::read(bytes);
            (tables.text(row.name_offset, row.name_length), row.segment)
        })
    }

    /// All regular expressions, each once, in the order of their indices.
    pub fn regexes(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let tables = *self;
        self.regexes.iter().map(move |bytes| {
            let row = TextRow::read(bytes);
            tables.text(row.offset, row.length)
        })
    }

    /// The credential with this digest.
    #[must_use]
    #[inline]
    pub fn find_credential(&self, digest: &[u8; 32]) -> Option<(CredentialIndex, CredentialRow)> {
        let hash = hash::bytes(Space::Credential.seed(self.meta.seed, 0), digest);
        let index = hash::find(self.credential_slots, hash, |index| {
            self.credential(CredentialIndex(index)).is_some_and(|row| row.digest == *digest)
        })?;
        Some((CredentialIndex(index), self.credential(CredentialIndex(index))?))
    }

    /// A credential's row.
    #[must_use]
    #[inline]
    pub fn credential(&self, credential: CredentialIndex) -> Option<CredentialRow> {
        self.credentials.get(credential.0 as usize).map(CredentialRow::read)
    }

    /// How many credentials there are.
    #[must_use]
    pub fn credential_count(&self) -> u32 {
        self.credentials.len() as u32
    }

    /// The visible prefix of a credential.
    #[must_use]
    pub fn credential_prefix(&self, row: &CredentialRow) -> &'a str {
        self.text(row.prefix_offset, row.prefix_length)
    }

    /// Ids of the seal keys from which the peppers of these credentials derive, ascending.
    #[must_use]
    pub fn pepper_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = Vec::new();
        for bytes in self.credentials {
            let id = CredentialRow::read(bytes).pepper_id;
            if let Err(at) = ids.binary_search(&id) {
                ids.insert(at, id);
            }
        }
        ids
    }

    /// An application's row.
    #[must_use]
    #[inline]
    pub fn application(&self, application: ApplicationIndex) -> Option<ApplicationRow> {
        self.applications.get(application.0 as usize).map(ApplicationRow::read)
    }

    /// How many applications there are.
    #[must_use]
    pub fn application_count(&self) -> u32 {
        self.applications.len() as u32
    }

    /// An application's name.
    #[must_use]
    pub fn application_name(&self, application: ApplicationIndex) -> &'a str {
        self.application(application).map_or("", |row| self.text(row.name_offset, row.name_length))
    }
}

fn range<T>(rows: &[T], first: u32, count: u16) -> &[T] {
    let first = first as usize;
    rows.get(first..first + usize::from(count)).unwrap_or_default()
}
