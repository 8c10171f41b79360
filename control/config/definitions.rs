//! Definitions: the checked source form that the store keeps, in content-addressed resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_snapshot::seal::Sealed;

use super::value::{Digest, Value};

macro_rules! kinds {
    ($($variant:ident $section:literal $one:literal $meaning:literal;)*) => {
        /// The sections of a configuration, in the order in which they are printed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $meaning] $variant,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its key at the top of a document.
            pub const fn section(self) -> &'static str {
                match self { $(Self::$variant => $section,)* }
            }

            /// What one of them is called.
            pub const fn one(self) -> &'static str {
                match self { $(Self::$variant => $one,)* }
            }

            /// The kind of a section.
            pub fn of_section(section: &str) -> Option<Self> {
                match section { $($section => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    Settings "settings" "settings" "Limits, timeouts and identity of the gateway; one resource without a name.";
    Listener "listeners" "listener" "An address that is accepted on, named by it.";
    Tls "tls" "TLS profile" "Certificates and parameters of TLS.";
    Upstream "upstreams" "upstream" "A group of endpoints.";
    Authenticator "authenticators" "authenticator" "A way of proving who calls.";
    Limit "limits" "limit" "A rate.";
    Chain "chains" "chain" "Policies in order.";
    Host "hosts" "host" "A host name and its routes.";
    Application "applications" "application" "Who calls.";
    Tests "tests" "tests" "What `check` tries; one resource without a name.";
}

/// Names one resource among the definitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Which section.
    pub kind: Kind,
    /// Its name there; empty for settings and tests.
    pub name: String,
}

/// One definition's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    content: Arc<str>,
    hash: Digest,
}

impl Resource {
    /// Of a checked value.
    pub fn new(value: &Value) -> Self {
        Self::from_content(value.to_json().into())
    }

    /// Of a stored content. It is checked when it is compiled.
    pub fn from_content(content: Arc<str>) -> Self {
        let hash = Digest(*blake3::hash(content.as_bytes()).as_bytes());
        Self { content, hash }
    }

    /// Canonical JSON: equal definitions have equal content.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// BLAKE3 of the content.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The content as a value.
    ///
    /// # Errors
    /// Where a stored content is damaged.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        Value::from_json(&self.content)
    }
}

/// Content that a definition refers to by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// DER certificates, leaf first.
    Certificates(Vec<Vec<u8>>),
    /// DER revocation lists.
    RevocationLists(Vec<Vec<u8>>),
    /// A private key, sealed when it was read.
    PrivateKey(Sealed),
}

/// A whole configuration, checked and without clear-text secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definitions {
    /// Each resource by its key; equal definitions give equal bytes.
    pub resources: BTreeMap<ResourceKey, Resource>,
    /// What they refer to. Sealing is not deterministic, so materials are no part of the hash; their digests are.
    pub materials: BTreeMap<Digest, Material>,
}

impl Definitions {
    /// Names the whole: BLAKE3 over kinds, names and hashes in order.
    pub fn root_hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for (key, resource) in &self.resources {
            hasher.update(key.kind.section().as_bytes());
            hasher.update(&[0]);
            hasher.update(key.name.as_bytes());
            hasher.update(&[0]);
            hasher.update(&resource.hash.0);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Resources of one kind, sorted by name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&str, &Resource)> {
        let from = ResourceKey { kind, name: String::new() };
        self.resources
            .range(from..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(key, resource)| (key.name.as_str(), resource))
    }
}
