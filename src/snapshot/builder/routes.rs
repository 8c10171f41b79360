//! Hosts, routes and templates as tables.
//!
//! Within a host, routes are laid out by the shape of their path and, where the path is the same, in the order in
//! which they are tried: those with methods first, then by number of header and of query conditions, then as they were
//! declared (Gateway API). So the match reads a group of candidates from front to back.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use crate::builder::strings::Strings;
use crate::builder::{BuildError, Distinct, index_of, length_of};
use crate::method;
use crate::model::{
    Action, FieldMatch, Host, HostPattern, Model, PathPattern, PathPolicy, Route, Segment, ValueMatch,
};
use crate::rows::{
    ConditionKind, ConditionRow, ExtraRow, HostKind, HostRow, NONE, NodeRow, PathKind, RouteRow, TextRow,
    VariableRow, flag,
};

/// All that is laid out here, still as rows.
pub(crate) struct Compiled<'a> {
    pub(crate) strings: Strings,
    pub(crate) hosts: Vec<HostRow>,
    pub(crate) routes: Vec<RouteRow>,
    pub(crate) extras: Distinct<ExtraKey, ExtraRow>,
    pub(crate) conditions: Vec<ConditionRow>,
    pub(crate) methods: Vec<TextRow>,
    pub(crate) variables: Vec<VariableRow>,
    pub(crate) regexes: Distinct<&'a str, TextRow>,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) actions: Distinct<&'a Action, Action>,
    last_action: Option<(&'a Action, u32)>,
    pub(crate) paths: Vec<Path>,
    pub(crate) wildcard_labels_max: u32,
    pub(crate) any_host: u32,
}

/// An exact path or a prefix of a host, and the first route of its group.
pub(crate) struct Path {
    pub(crate) host: u32,
    pub(crate) route: u32,
    pub(crate) offset: u32,
    pub(crate) length: u16,
    pub(crate) prefix: bool,
}

/// What an extra row stands for.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct ExtraKey {
    methods: Vec<TextRow>,
    headers: Vec<ConditionRow>,
    query: Vec<ConditionRow>,
    variables: Vec<VariableRow>,
    path_regex: u32,
    body_bytes_max: u64,
}

/// The shape of a path: routes with the same shape form a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape<'a> {
    kind: u16,
    /// The path of exact and prefix; segments with `\0` for a variable of a template; empty for expressions, which
    /// are one group.
    text: Cow<'a, str>,
}

/// What variables are in a [`Shape`]; no literal segment holds it.
const VARIABLE: &str = "\0";

impl<'a> Shape<'a> {
    fn of(path: &'a PathPattern) -> Self {
        match path {
            PathPattern::Exact(text) => Self::new(PathKind::Exact, text),
            PathPattern::Prefix(text) => Self::new(PathKind::Prefix, text),
            PathPattern::Regex(_) => Self::new(PathKind::Regex, ""),
            PathPattern::Template { segments, rest } => {
                let variable = segments.iter().any(|segment| matches!(segment, Segment::Variable(_)));
                // A template without a variable is a plain path.
                let kind = match (variable, rest) {
                    (true, false) => PathKind::Template,
                    (true, true) => PathKind::TemplateRest,
                    (false, false) => PathKind::Exact,
                    (false, true) => PathKind::Prefix,
                };
                let mut text = String::new();
                for segment in segments {
                    text.push('/');
                    text.push_str(match segment {
                        Segment::Literal(literal) => literal,
                        Segment::Variable(_) => VARIABLE,
                    });
                }
                Self { kind: kind as u16, text: Cow::Owned(text) }
            }
        }
    }

    fn new(kind: PathKind, text: &'a str) -> Self {
        Self { kind: kind as u16, text: Cow::Borrowed(text) }
    }

    fn is(&self, kind: PathKind) -> bool {
        self.kind == kind as u16
    }

    fn segments(&self) -> usize {
        self.text.bytes().filter(|byte| *byte == b'/').count()
    }
}

/// Lays out all hosts of a model that was checked.
pub(crate) fn compile(model: &Model) -> Result<Compiled<'_>, BuildError> {
    let total = model.hosts.iter().map(|host| host.routes.len()).sum();
    let mut out = Compiled {
        strings: Strings::default(),
        hosts: Vec::with_capacity(model.hosts.len()),
        routes: Vec::with_capacity(total),
        extras: Distinct::new(),
        conditions: Vec::new(),
        methods: Vec::new(),
        variables: Vec::new(),
        regexes: Distinct::new(),
        nodes: Vec::new(),
        actions: Distinct::new(),
        last_action: None,
        paths: Vec::with_capacity(total),
        wildcard_labels_max: 0,
        any_host: NONE,
    };
    index_of(total, "the number of routes")?;
    for host in &model.hosts {
        out.host(host)?;
    }
    index_of(out.nodes.len(), "the number of template segments")?;
    Ok(out)
}

impl<'a> Compiled<'a> {
    fn host(&mut self, host: &'a Host) -> Result<(), BuildError> {
        let index = index_of(self.hosts.len(), "the number of hosts")?;
        let (kind, name) = match &host.pattern {
            HostPattern::Exact(name) => (HostKind::Exact, name.as_str()),
            HostPattern::Wildcard(suffix) => {
                let labels = suffix.split('.').count() as u32;
                self.wildcard_labels_max = self.wildcard_labels_max.max(labels);
                (HostKind::Wildcard, suffix.as_str())
            }
            HostPattern::Any => {
                self.any_host = index;
                (HostKind::Any, "")
            }
        };
        let (name_offset, name_length) = self.strings.add(name.as_bytes(), "a host name")?;
        let mut row = HostRow {
            name_offset,
            name_length,
            kind: kind as u8,
            path_policy: match host.path_policy {
                PathPolicy::Strict => 0,
                PathPolicy::Merge => 1,
                PathPolicy::AsIs => 2,
            },
            route_first: self.routes.len() as u32,
            route_count: host.routes.len() as u32,
            prefix_depths: 0,
            template_root: NONE,
            regex_count: 0,
            depth: 0,
            exact: 0,
        };
        self.host_routes(index, host, &mut row)?;
        self.hosts.push(row);
        Ok(())
    }

    fn host_routes(&mut self, index: u32, host: &'a Host, row: &mut HostRow) -> Result<(), BuildError> {
        let mut order: Vec<_> = host
            .routes
            .iter()
            .enumerate()
            .map(|(at, route)| {
                let rank = (Reverse(!route.methods.is_empty()), Reverse(distinct(&route.headers)));
                (Shape::of(&route.path), rank, Reverse(distinct(&route.query)), at, route)
            })
            .collect();
        order.sort_unstable_by(|a, b| (&a.0, a.1, a.2, a.3).cmp(&(&b.0, b.1, b.2, b.3)));
        let mut nodes = HashMap::new();
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let first = self.routes.len() as u32;
            let Some((shape, ..)) = group.first() else { continue };
            for (shape, _, _, _, route) in group {
                self.route(route, shape)?;
            }
            if let Some(last) = self.routes.last_mut() {
                last.flags |= flag::GROUP_LAST;
            }
            if shape.is(PathKind::Regex) {
                row.regex_count = length_of(group.len(), "the number of expressions")?;
            } else if shape.is(PathKind::Exact) || shape.is(PathKind::Prefix) {
                self.path(index, first, shape, row);
            } else {
                self.template(first, shape, row, &mut nodes)?;
            }
        }
        Ok(())
    }

    fn path(&mut self, host: u32, route: u32, shape: &Shape<'_>, row: &mut HostRow) {
        let prefix = shape.is(PathKind::Prefix);
        if prefix {
            let depth = shape.segments() as u8;
            row.depth = row.depth.max(depth);
            row.prefix_depths |= 1 << depth;
        } else {
            row.exact = 1;
        }
        let Some(first) = self.routes.get(route as usize) else { return };
        let offset = first.text_offset + u32::from(first.path_start());
        self.paths.push(Path { host, route, offset, length: first.path_length, prefix });
    }

    /// Adds a template's segments below the host's root, and its group at the end.
    fn template<'s>(
        &mut self,
        route: u32,
        shape: &'s Shape<'_>,
        row: &mut HostRow,
        known: &mut HashMap<(u32, &'s str), u32>,
    ) -> Result<(), BuildError> {
        if row.template_root == NONE {
            row.template_root = self.node(NONE, 0, "")?;
        }
        let mut at = row.template_root;
        let mut spine = 0;
        let mut literal_so_far = true;
        for segment in shape.text.split('/').skip(1) {
            let variable = segment == VARIABLE;
            literal_so_far &= !variable;
            spine += u8::from(literal_so_far);
            at = match known.get(&(at, segment)) {
                Some(node) => *node,
                None => {
                    let node =
                        self.node(at, if variable { 2 } else { 1 }, if variable { "" } else { segment })?;
                    if let Some(above) = self.nodes.get_mut(at as usize).filter(|_| variable) {
                        above.variable = node;
                    }
                    known.insert((at, segment), node);
                    node
                }
            };
        }
        row.depth = row.depth.max(spine);
        if let Some(node) = self.nodes.get_mut(at as usize) {
            if shape.is(PathKind::Template) {
                node.end = route;
            } else {
                node.rest = route;
            }
        }
        Ok(())
    }

    fn node(&mut self, parent: u32, kind: u16, text: &str) -> Result<u32, BuildError> {
        let index = index_of(self.nodes.len(), "the number of template segments")?;
        let (text_offset, text_length) = self.strings.add(text.as_bytes(), "a path")?;
        self.nodes.push(NodeRow {
            parent,
            text_offset,
            text_length,
            kind,
            variable: NONE,
            end: NONE,
            rest: NONE,
        });
        Ok(index)
    }

    fn route(&mut self, route: &'a Route, shape: &Shape<'_>) -> Result<(), BuildError> {
        let plain = shape.is(PathKind::Exact) || shape.is(PathKind::Prefix);
        let path = if plain { shape.text.as_ref() } else { "" };
        let name_length = length_of(route.name.len(), "a route's name")?;
        let mut flags = shape.kind;
        let before_star = route.name.strip_suffix("/*").is_some_and(|before| before.ends_with(path));
        let (text_offset, _) = if route.name.ends_with(path) {
            flags |= flag::PATH_IN_NAME;
            self.strings.add(route.name.as_bytes(), "a route's name")?
        } else if before_star {
            flags |= flag::PATH_BEFORE_STAR;
            self.strings.add(route.name.as_bytes(), "a route's name")?
        } else {
            self.strings.add([&route.name, path].concat().as_bytes(), "a route's name and path")?
        };
        if route.websocket {
            flags |= flag::WEBSOCKET;
        }
        if route.grpc_web {
            flags |= flag::GRPC_WEB;
        }
        if route.encoded_slash {
            flags |= flag::ENCODED_SLASH;
        }
        let methods = route.methods.iter().fold(0, |set, name| set | method::bit(name.as_bytes()));
        // Neighbours mostly do the same, and comparing is cheaper than hashing.
        let action = match self.last_action {
            Some((last, index)) if *last == route.action => index,
            _ => self.actions.index(&route.action, |action| Ok((*action).clone()))?,
        };
        self.last_action = Some((&route.action, action));
        let extra = self.extra(route, methods)?;
        self.routes.push(RouteRow {
            id: route.id,
            text_offset,
            name_length,
            path_length: length_of(path.len(), "a path")?,
            methods,
            flags,
            chain: route.chain,
            action,
            extra,
        });
        Ok(())
    }

    fn extra(&mut self, route: &'a Route, methods: u16) -> Result<u32, BuildError> {
        let mut key = ExtraKey {
            methods: Vec::new(),
            headers: self.conditions(&route.headers)?,
            query: self.conditions(&route.query)?,
            variables: self.variables(&route.path)?,
            path_regex: NONE,
            body_bytes_max: route.body_bytes_max.unwrap_or(u64::MAX),
        };
        if methods & method::OTHER != 0 {
            let others = route.methods.iter().filter(|name| method::bit(name.as_bytes()) == method::OTHER);
            for name in others {
                let (offset, length) = self.strings.add(name.as_bytes(), "a method")?;
                key.methods.push(TextRow { offset, length, reserved: 0 });
            }
        }
        if let PathPattern::Regex(pattern) = &route.path {
            key.path_regex = self.regex(pattern)?;
        }
        let plain = key.methods.is_empty()
            && key.headers.is_empty()
            && key.query.is_empty()
            && key.variables.is_empty()
            && key.path_regex == NONE
            && key.body_bytes_max == u64::MAX;
        if plain {
            return Ok(NONE);
        }
        let Self { extras, methods, conditions, variables, .. } = self;
        extras.index(key, |key| {
            Ok(ExtraRow {
                method_first: append(methods, &key.methods)?,
                header_first: append(conditions, &key.headers)?,
                query_first: append(conditions, &key.query)?,
                variable_first: append(variables, &key.variables)?,
                path_regex: key.path_regex,
                body_bytes_max: key.body_bytes_max,
                method_count: length_of(key.methods.len(), "the number of methods")?,
                header_count: length_of(key.headers.len(), "the number of conditions")?,
                query_count: length_of(key.query.len(), "the number of conditions")?,
                variable_count: length_of(key.variables.len(), "the number of variables")?,
            })
        })
    }

    fn conditions(&mut self, matches: &'a [FieldMatch]) -> Result<Vec<ConditionRow>, BuildError> {
        let mut rows = Vec::with_capacity(matches.len());
        for one in matches {
            let (name_offset, name_length) = self.strings.add(one.name.as_bytes(), "a condition's name")?;
            let (kind, value, value_length) = match &one.value {
                ValueMatch::Exact(text) => {
                    let (value, length) = self.strings.add(text.as_bytes(), "a condition's value")?;
                    (ConditionKind::Exact, value, length)
                }
                ValueMatch::Present => (ConditionKind::Present, 0, 0),
                ValueMatch::Regex(pattern) => (ConditionKind::Regex, self.regex(pattern)?, 0),
            };
            let row = ConditionRow {
                name_offset,
                value,
                name_length,
                value_length,
                kind: kind as u16,
                reserved: 0,
            };
            // A condition that is written twice asks for nothing more.
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn variables(&mut self, path: &'a PathPattern) -> Result<Vec<VariableRow>, BuildError> {
        let PathPattern::Template { segments, .. } = path else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            if let Segment::Variable(name) = segment {
                let (name_offset, name_length) = self.strings.add(name.as_bytes(), "a variable's name")?;
                rows.push(VariableRow { name_offset, name_length, segment: length_of(at, "a path")? });
            }
        }
        Ok(rows)
    }

    fn regex(&mut self, pattern: &'a str) -> Result<u32, BuildError> {
        let strings = &mut self.strings;
        self.regexes.index(pattern, |pattern| {
            let (offset, length) = strings.add(pattern.as_bytes(), "an expression")?;
            Ok(TextRow { offset, length, reserved: 0 })
        })
    }
}

/// How many different conditions there are: what counts for precedence.
fn distinct(conditions: &[FieldMatch]) -> usize {
    let repeated = |at: usize, one: &FieldMatch| conditions.iter().take(at).any(|before| before == one);
    conditions.iter().enumerate().filter(|(at, one)| !repeated(*at, one)).count()
}

fn append<R: Clone>(rows: &mut Vec<R>, more: &[R]) -> Result<u32, BuildError> {
    let first = index_of(rows.len(), "the number of conditions")?;
    rows.extend_from_slice(more);
    Ok(first)
}
