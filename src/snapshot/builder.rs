//! From a [`Model`] to the bytes of a snapshot.
//!
//! Pure and deterministic: equal models give equal bytes but for generation, parent and signature. The checks here are
//! the last resort behind control's compiler, which reports the same faults with file, line and column.

mod check;
mod identities;
mod routes;
mod strings;

use std::collections::HashMap;

use rkyv::api::high::HighSerializer;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use thiserror::Error;

use crate::current::ContentHash;
use crate::error::SemanticError;
use crate::hash::{self, Space};
use crate::header::{self, Section};
use crate::keys::SigningKey;
use crate::model::{Action, Chain, Model};
use crate::reader::Small;
use crate::rows::{HostKind, MetaRow, NONE, Row, SlotRow};
use crate::tables::Tables;
use crate::validate;

/// What a file says beside the content.
#[derive(Debug, Clone, Copy)]
pub struct BuildOptions<'a> {
    /// Number of the generation that it is compiled for.
    pub generation: u64,
    /// Content before it; all zero for the first.
    pub parent_hash: ContentHash,
    /// Signs the file.
    pub signing: &'a SigningKey,
}

/// Why a model cannot be a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Two hosts with one pattern.
    #[error("host {0} is declared twice")]
    DuplicateHost(String),
    /// A host name that no request can have.
    #[error("host {0:?} is not a lower-case name without a port")]
    BadHost(String),
    /// A path that no request can have.
    #[error("route {route} of host {host} has a path that no request can have")]
    BadPath {
        /// The host.
        host: String,
        /// The route.
        route: String,
    },
    /// More segments than the match follows.
    #[error("route {route} of host {host} has more than {max} segments")]
    TooDeep {
        /// The host.
        host: String,
        /// The route.
        route: String,
        /// The bound.
        max: u8,
    },
    /// More expressions in one host than the match tries.
    #[error("host {host} has more than {max} regular expressions as paths")]
    TooManyExpressions {
        /// The host.
        host: String,
        /// The bound.
        max: u16,
    },
    /// Two routes that match the very same requests.
    #[error("routes {first} and {second} of host {host} match the same requests")]
    DuplicateRoute {
        /// The host.
        host: String,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Two names with one id.
    #[error("{kind} {first} and {second} have the same id: rename one")]
    IdCollision {
        /// What they are.
        kind: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Two credentials with one digest, or two applications or credentials with one UUID.
    #[error("{kind} of application {application} is there twice")]
    DuplicateIdentity {
        /// What is there twice.
        kind: &'static str,
        /// Whose the second one is.
        application: String,
    },
    /// A reference to nothing, or a number without a meaning.
    #[error("the model contradicts itself")]
    Contradiction(#[from] SemanticError),
    /// As before, of what has a name.
    #[error("{kind} {name} {what}")]
    Bad {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// More than an index or a length can count.
    #[error("{0} exceeds what a snapshot can hold")]
    TooLarge(&'static str),
    /// rkyv could not archive a section.
    #[error("section {0:?} cannot be archived")]
    Archive(Section),
}

/// Compiles a model.
///
/// # Errors
/// [`BuildError`] with the first fault found.
pub fn build(model: &Model, options: &BuildOptions<'_>) -> Result<Vec<u8>, BuildError> {
    check::model(model)?;
    let mut out = routes::compile(model)?;
    let identities = identities::compile(model, &mut out.strings)?;
    let slots = slots(&out, &identities)?;
    let meta = MetaRow {
        seed: slots.seed,
        wildcard_labels_max: out.wildcard_labels_max,
        any_host: out.any_host,
        paths: out.paths.len() as u32,
        reserved: 0,
    };
    let small = small(model, std::mem::take(&mut out.actions.rows));
    validate::small_indices(&small)?;
    let sections = [
        rows(&[meta]),
        std::mem::take(&mut out.strings).into_arena(),
        rows(&slots.hosts),
        rows(&out.hosts),
        rows(&slots.paths),
        rows(&out.routes),
        rows(&out.extras.rows),
        rows(&out.conditions),
        rows(&out.methods),
        rows(&out.variables),
        rows(&out.regexes.rows),
        rows(&slots.nodes),
        rows(&out.nodes),
        rows(&slots.credentials),
        rows(&identities.credentials),
        rows(&identities.applications),
        archive(&small.settings, Section::Settings)?,
        archive(&small.listeners, Section::Listeners)?,
        archive(&small.tls, Section::Tls)?,
        archive(&small.upstreams, Section::Upstreams)?,
        archive(&small.authenticators, Section::Authenticators)?,
        archive(&small.limits, Section::Limits)?,
        archive(&small.chains, Section::Chains)?,
        archive(&small.actions, Section::Actions)?,
    ];
    Ok(header::assemble(&sections, options.generation, options.parent_hash, options.signing))
}

fn small(model: &Model, actions: Vec<Action>) -> Small {
    let chains = if model.chains.is_empty() { vec![Chain::default()] } else { model.chains.clone() };
    Small {
        settings: model.settings.clone(),
        listeners: model.listeners.clone(),
        tls: model.tls.clone(),
        upstreams: model.upstreams.clone(),
        authenticators: model.authenticators.clone(),
        limits: model.limits.clone(),
        chains,
        actions,
    }
}

fn rows<R: Row>(rows: &[R]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * R::SIZE);
    for row in rows {
        row.write(&mut out);
    }
    out
}

fn archive<T>(value: &T, section: Section) -> Result<Vec<u8>, BuildError>
where
    T: for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>,
{
    let bytes = rkyv::to_bytes::<rancor::Error>(value).map_err(|_| BuildError::Archive(section))?;
    Ok(bytes.into_vec())
}

/// Hash tables, all with one seed.
struct Slots {
    seed: u64,
    hosts: Vec<SlotRow>,
    paths: Vec<SlotRow>,
    nodes: Vec<SlotRow>,
    credentials: Vec<SlotRow>,
}

/// Seeds that are tried before the builder gives up; one is enough but in contrived cases.
const SEEDS_MAX: u64 = 32;

fn slots(out: &routes::Compiled<'_>, identities: &identities::Identities) -> Result<Slots, BuildError> {
    let content = blake3::hash(out.strings.arena());
    let first = content.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (0..SEEDS_MAX)
        .find_map(|attempt| {
            let seed = hash::mix(first, attempt);
            Some(Slots {
                seed,
                hosts: hash::table(&out.host_keys(seed))?,
                paths: hash::table(&out.path_keys(seed))?,
                nodes: hash::table(&out.node_keys(seed))?,
                credentials: hash::table(&identities.keys(Space::Credential.seed(seed, 0)))?,
            })
        })
        .ok_or(BuildError::TooLarge("a hash table"))
}

/// Equal values once, by index.
struct Distinct<K, R> {
    indices: HashMap<K, u32>,
    rows: Vec<R>,
}

impl<K: std::hash::Hash + Eq, R> Distinct<K, R> {
    fn new() -> Self {
        Self { indices: HashMap::new(), rows: Vec::new() }
    }

    /// Index of the value; `row` makes its row when it is new.
    fn index(&mut self, key: K, row: impl FnOnce(&K) -> Result<R, BuildError>) -> Result<u32, BuildError> {
        if let Some(index) = self.indices.get(&key) {
            return Ok(*index);
        }
        let index = self.rows.len() as u32;
        self.rows.push(row(&key)?);
        self.indices.insert(key, index);
        Ok(index)
    }
}

/// A count as an index field holds it.
fn index_of(count: usize, what: &'static str) -> Result<u32, BuildError> {
    u32::try_from(count).ok().filter(|index| *index < NONE).ok_or(BuildError::TooLarge(what))
}

/// A length as a row holds it.
fn length_of(length: usize, what: &'static str) -> Result<u16, BuildError> {
    u16::try_from(length).map_err(|_| BuildError::TooLarge(what))
}

impl routes::Compiled<'_> {
    fn host_keys(&self, seed: u64) -> Vec<(u64, u32)> {
        let exact = Space::HostExact.seed(seed, 0);
        let wildcard = Space::HostWildcard.seed(seed, 0);
        let keyed = self.hosts.iter().enumerate().filter_map(|(at, row)| {
            let name = self.strings.get(row.name_offset, row.name_length);
            match HostKind::of(row.kind)? {
                HostKind::Exact => Some((hash::bytes(exact, name), at as u32)),
                HostKind::Wildcard => Some((hash::bytes(wildcard, name), at as u32)),
                HostKind::Any => None,
            }
        });
        keyed.collect()
    }

    fn path_keys(&self, seed: u64) -> Vec<(u64, u32)> {
        let key = |path: &routes::Path| {
            let text = self.strings.get(path.offset, path.length);
            let hash = if path.prefix {
                let start = Space::PathPrefix.seed(seed, path.host);
                let segments = text.split(|byte| *byte == b'/').skip(1);
                segments.fold(start, Tables::prefix_next)
            } else {
                hash::bytes(Space::PathExact.seed(seed, path.host), text)
            };
            (hash, path.route)
        };
        self.paths.iter().map(key).collect()
    }

    fn node_keys(&self, seed: u64) -> Vec<(u64, u32)> {
        let literal = self.nodes.iter().enumerate().filter(|(_, row)| row.kind == 1);
        let keyed = literal.map(|(at, row)| {
            let text = self.strings.get(row.text_offset, row.text_length);
            (hash::bytes(Space::Node.seed(seed, row.parent), text), at as u32)
        });
        keyed.collect()
    }
}

#[cfg(test)]
mod tests;
