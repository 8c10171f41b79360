//! The snapshot as the gateway holds it: bytes that have been proved to mean something.

use std::sync::Arc;

use yoke::Yoke;

use crate::error::SnapshotError;
use crate::header::{Header, Layout, Section};
use crate::keys::Trust;
use crate::model::{
    Action, Authenticator, Chain, HostPattern, Limit, Listener, PathPolicy, Settings, TlsProfile, Upstream,
};
use crate::rows::{HostKind, HostRow};
use crate::tables::{HostIndex, Tables};
use crate::validate;

/// Where the bytes live: a map, or memory. It gives the same bytes for as long as it lives.
pub trait Owner: AsRef<[u8]> + Send + Sync + 'static {}

impl<T: AsRef<[u8]> + Send + Sync + 'static> Owner for T {}

/// The bytes must start at a multiple of this; a map always does.
pub const ALIGN: usize = 16;

/// Small sections, as plain Rust.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Small {
    pub(crate) settings: Settings,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) tls: Vec<TlsProfile>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) authenticators: Vec<Authenticator>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) actions: Vec<Action>,
}

/// A generation's content, checked.
///
/// INVARIANT: only [`Snapshot::open`] makes one, after length, checksum, signature, layout and every index and
/// range have been checked.
pub struct Snapshot {
    /// The bytes, and the views of them that every request looks through.
    tables: Yoke<Tables<'static>, Arc<dyn Owner>>,
    header: Header,
    layout: Layout,
    small: Small,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Checks the bytes and takes their owner. A million routes take some tens of milliseconds: call it on the
    /// reload thread.
    ///
    /// # Errors
    /// [`SnapshotError`], one variant for each way in which bytes are no snapshot.
    pub fn open(owner: impl Owner, trust: &Trust) -> Result<Self, SnapshotError> {
        let bytes = owner.as_ref();
        let header = Header::read(bytes)?;
        header.verify(bytes, trust)?;
        if !bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            return Err(SnapshotError::Misaligned);
        }
        let layout = Header::layout(bytes)?;
        let small = validate::small(bytes, &layout)?;
        validate::tables(bytes, &layout, &small)?;
        let owner: Arc<dyn Owner> = Arc::new(owner);
        let tables = Yoke::attach_to_cart(owner, |owner| Tables::of(owner.as_ref(), &layout));
        Ok(Self { tables, header, layout, small })
    }

    /// Content hash, parent, length, and the generation that it was first compiled for.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Views of the big sections.
    #[must_use]
    #[inline]
    pub fn tables(&self) -> &Tables<'_> {
        self.tables.get()
    }

    /// Bytes of a section, for sizes in `plan` and in tests.
    #[must_use]
    pub fn section_bytes(&self, section: Section) -> u64 {
        self.layout.of((**self.tables.backing_cart()).as_ref(), section).len() as u64
    }

    /// Limits, timeouts and identity of the gateway.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.small.settings
    }

    /// Addresses that the gateway accepts on.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.small.listeners
    }

    /// Certificates and TLS parameters.
    #[must_use]
    pub fn tls(&self) -> &[TlsProfile] {
        &self.small.tls
    }

    /// Groups of endpoints; a proxy action's index points here.
    #[must_use]
    pub fn upstreams(&self) -> &[Upstream] {
        &self.small.upstreams
    }

    /// Ways of proving who calls.
    #[must_use]
    pub fn authenticators(&self) -> &[Authenticator] {
        &self.small.authenticators
    }

    /// Named rates.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.small.limits
    }

    /// Ordered policies; a route's `chain` points here.
    #[must_use]
    pub fn chains(&self) -> &[Chain] {
        &self.small.chains
    }

    /// What routes do, equal ones once; a route's `action` points here.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.small.actions
    }
}

impl HostRow {
    /// How this host's paths are normalised before they are matched.
    #[must_use]
    #[inline]
    pub fn path_policy(&self) -> PathPolicy {
        match self.path_policy {
            1 => PathPolicy::Merge,
            2 => PathPolicy::AsIs,
            // Numbers that do not exist were refused when the snapshot was opened.
            _ => PathPolicy::Strict,
        }
    }
}

impl Tables<'_> {
    /// The host's pattern, as in the model.
    #[must_use]
    pub fn host_pattern(&self, host: HostIndex) -> Option<HostPattern> {
        let row = self.host(host)?;
        let name = std::str::from_utf8(self.bytes(row.name_offset, row.name_length)).ok()?.to_owned();
        Some(match HostKind::of(row.kind)? {
            HostKind::Exact => HostPattern::Exact(name),
            HostKind::Wildcard => HostPattern::Wildcard(name),
            HostKind::Any => HostPattern::Any,
        })
    }
}

/// Bytes in memory at an address that [`Snapshot::open`] takes. A gateway maps its files; this is for tests, `check` and
/// `plan`, which compile without a file.
pub struct AlignedBytes(rkyv::util::AlignedVec<ALIGN>);

impl AlignedBytes {
    /// Copies the bytes.
    #[must_use]
    pub fn copy(bytes: &[u8]) -> Self {
        let mut aligned = rkyv::util::AlignedVec::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        Self(aligned)
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
