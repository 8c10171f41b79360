//! All groups of routes whose path fits, in the order of precedence. Match, `Allow` and explanation are visitors of
//! this one walk, so they cannot disagree.

use std::ops::ControlFlow;

use ringway_snapshot::limits::PATH_SEGMENTS_MAX;
use ringway_snapshot::rows::{HostRow, NONE, NodeRow, RouteRow, flag};
use ringway_snapshot::tables::{HostIndex, NodeIndex, RouteIndex, Tables};

/// Is shown one group after the other.
pub(crate) trait Visit {
    /// The group that begins with `first`; its pattern stands for `matched` bytes of the path. In the group of
    /// expressions, each has yet to be tried.
    fn group(&mut self, first: RouteIndex, matched: usize) -> ControlFlow<()>;
}

/// The routes of a group, from its first on.
#[inline]
pub(crate) fn rows(tables: &Tables<'_>, first: RouteIndex) -> impl Iterator<Item = (RouteIndex, RouteRow)> {
    let mut next = Some(first);
    std::iter::from_fn(move || {
        let route = next?;
        let row = tables.route(route)?;
        next = (!row.has(flag::GROUP_LAST)).then(|| RouteIndex(route.0.saturating_add(1)));
        Some((route, row))
    })
}

/// Shows the visitor all groups of the host whose path fits, until it breaks.
pub(crate) fn walk(
    tables: &Tables<'_>,
    host: HostIndex,
    path: &[u8],
    visit: &mut impl Visit,
) -> ControlFlow<()> {
    let Some(row) = tables.host(host) else { return ControlFlow::Continue(()) };
    if row.exact != 0
        && let Some(first) = tables.find_exact(host, &row, path)
    {
        visit.group(first, path.len())?;
    }
    let root = (row.template_root != NONE).then_some(NodeIndex(row.template_root));
    let mut walk = Walk { tables, host: &row, path, visit };
    walk.descend(0, root, 0, tables.prefix_start(host))?;
    if row.regex_count > 0 {
        let before = row.route_count.saturating_sub(u32::from(row.regex_count));
        visit.group(RouteIndex(row.route_first.saturating_add(before)), path.len())?;
    }
    ControlFlow::Continue(())
}

struct Walk<'a, V> {
    tables: &'a Tables<'a>,
    host: &'a HostRow,
    path: &'a [u8],
    visit: &'a mut V,
}

impl<'a, V: Visit> Walk<'a, V> {
    /// Goes down along the literal segments, and shows on its way back what ends at each depth: so the deepest literal
    /// comes first. `node` is the templates' node for the segments so far, `at` the length of the path up to here,
    /// `hash` that of the prefix up to here.
    fn descend(&mut self, depth: u8, node: Option<NodeIndex>, at: usize, hash: u64) -> ControlFlow<()> {
        // INVARIANT: the host's depth is at most PATH_SEGMENTS_MAX, whatever the path's.
        if depth < self.host.depth
            && let Some((segment, after)) = self.segment(at)
        {
            let below = node.and_then(|node| self.tables.child(node, segment));
            self.descend(depth + 1, below, after, Tables::prefix_next(hash, segment))?;
        }
        if let Some(node) = node
            && let Some(row) = self.tables.node(node)
        {
            self.templates(&row, depth, at)?;
        }
        if self.host.prefix_depths & (1 << depth) != 0
            && let Some(prefix) = self.path.get(..at)
            && let Some(first) = self.tables.find_prefix(self.host, hash, prefix)
        {
            self.visit.group(first, at)?;
        }
        ControlFlow::Continue(())
    }

    /// What is below a node but for its literal segments: variable, then its own end, then whatever follows.
    fn templates(&mut self, row: &NodeRow, depth: u8, at: usize) -> ControlFlow<()> {
        if let Some((segment, after)) = self.segment(at) {
            if row.variable != NONE && !segment.is_empty() && depth < PATH_SEGMENTS_MAX {
                self.below(NodeIndex(row.variable), depth + 1, after)?;
            }
        } else if row.end != NONE && at == self.path.len() {
            self.visit.group(RouteIndex(row.end), at)?;
        }
        if row.rest != NONE {
            self.visit.group(RouteIndex(row.rest), at)?;
        }
        ControlFlow::Continue(())
    }

    /// Everything below a node that stands behind a variable.
    fn below(&mut self, node: NodeIndex, depth: u8, at: usize) -> ControlFlow<()> {
        let Some(row) = self.tables.node(node) else { return ControlFlow::Continue(()) };
        if depth < PATH_SEGMENTS_MAX
            && let Some((segment, after)) = self.segment(at)
            && let Some(literal) = self.tables.child(node, segment)
        {
            self.below(literal, depth + 1, after)?;
        }
        self.templates(&row, depth, at)
    }

    /// The segment after the slash at `at`, and where it ends.
    #[inline]
    fn segment(&self, at: usize) -> Option<(&'a [u8], usize)> {
        let rest = self.path.get(at..)?.strip_prefix(b"/")?;
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        Some((rest.get(..length)?, at + 1 + length))
    }
}
