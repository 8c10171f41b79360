//! Definitions as content-addressed resources, and the difference between two sets of them.
//!
//! A resource is one named thing of a document (an upstream, a host with its routes, the list of
//! listeners). Its body is canonical JSON, so equal resources have equal hashes and are stored once.

use std::collections::BTreeMap;

use ringway_snapshot::current::ContentHash;

/// Which resource: the document's section and the name in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Section of the document: `hosts`, `upstreams`, `listeners`, …
    pub kind: String,
    /// Key in the section; empty where a section is one resource.
    pub name: String,
}

/// A resource with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Which.
    pub key: ResourceKey,
    /// Canonical JSON, UTF-8.
    pub body: String,
}

impl Resource {
    /// Hash of the body; the key is not part of it, so that equal bodies are stored once.
    pub fn hash(&self) -> ContentHash {
        hash_of(self.body.as_bytes())
    }
}

/// A resource by reference: what a root is computed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: ResourceKey,
    /// Of its body.
    pub hash: ContentHash,
}

/// One step from a generation to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New, or with a new body.
    Put(Resource),
    /// No longer there.
    Remove(ResourceKey),
}

impl Change {
    /// Which resource changes.
    pub fn key(&self) -> &ResourceKey {
        match self {
            Self::Put(resource) => &resource.key,
            Self::Remove(key) => key,
        }
    }
}

/// BLAKE3 of these bytes.
pub fn hash_of(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

/// The root over a set of resources, whatever order they come in.
pub fn root_hash(entries: &BTreeMap<ResourceKey, ContentHash>) -> ContentHash {
    let mut hasher = blake3::Hasher::new();
    for (key, hash) in entries {
        for part in [&key.kind, &key.name] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&hash.0);
    }
    ContentHash(*hasher.finalize().as_bytes())
}

/// What leads from `old` to `new`, in the order of the keys; and the entries that result.
pub fn changes_between(
    old: &BTreeMap<ResourceKey, ContentHash>,
    new: Vec<Resource>,
) -> (Vec<Change>, BTreeMap<ResourceKey, ContentHash>) {
    let mut entries = BTreeMap::new();
    let mut changes = Vec::new();
    for resource in new {
        let hash = resource.hash();
        entries.insert(resource.key.clone(), hash);
        if old.get(&resource.key) != Some(&hash) {
            changes.push(Change::Put(resource));
        }
    }
    changes.extend(old.keys().filter(|key| !entries.contains_key(key)).cloned().map(Change::Remove));
    changes.sort_by(|a, b| a.key().cmp(b.key()));
    (changes, entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resource(name: &str, body: &str) -> Resource {
        Resource {
            key: ResourceKey { kind: "hosts".to_owned(), name: name.to_owned() },
            body: body.to_owned(),
        }
    }

    #[test]
    fn equal_sets_have_no_changes_and_equal_roots() {
        let resources = vec![resource("a", "1"), resource("b", "2")];
        let (_, first) = changes_between(&BTreeMap::new(), resources.clone());
        let (changes, second) = changes_between(&first, resources.into_iter().rev().collect());
        assert_eq!(changes, []);
        assert_eq!(root_hash(&first), root_hash(&second));
    }

    proptest! {
        #[test]
        fn changes_applied_to_the_old_set_give_the_new_one(
            old in proptest::collection::btree_map("[a-e]", "[0-3]", 0..5),
            new in proptest::collection::btree_map("[a-e]", "[0-3]", 0..5),
        ) {
            let set = |names: &BTreeMap<String, String>| names.iter().map(|(n, b)| resource(n, b)).collect::<Vec<_>>();
            let (_, mut entries) = changes_between(&BTreeMap::new(), set(&old));
            let (changes, target) = changes_between(&entries, set(&new));
            for change in changes {
                match change {
                    Change::Put(resource) => { entries.insert(resource.key.clone(), resource.hash()); }
                    Change::Remove(key) => { prop_assert!(entries.remove(&key).is_some()); }
                }
            }
            prop_assert_eq!(&entries, &target);
            prop_assert_eq!(root_hash(&entries), root_hash(&target));
        }
    }
}
