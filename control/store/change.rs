//! The step from one set of definitions to another, resource by resource.

use crate::config::{Definitions, Resource, ResourceKey};

/// What becomes of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New, or with new content.
    Put(ResourceKey, Resource),
    /// No longer there.
    Remove(ResourceKey),
}

impl Change {
    /// Which resource changes.
    pub fn key(&self) -> &ResourceKey {
        match self {
            Self::Put(key, _) | Self::Remove(key) => key,
        }
    }
}

/// What leads from `old` to `new`, in the order of the keys. Contents are compared by hash.
pub fn changes_between(old: &Definitions, new: &Definitions) -> Vec<Change> {
    let changed = new
        .resources
        .iter()
        .filter(|(key, resource)| old.resources.get(*key).is_none_or(|old| old.hash() != resource.hash()))
        .map(|(key, resource)| Change::Put(key.clone(), resource.clone()));
    let removed = old.resources.keys().filter(|key| !new.resources.contains_key(*key));
    let mut changes: Vec<Change> = changed.chain(removed.cloned().map(Change::Remove)).collect();
    changes.sort_by(|a, b| a.key().cmp(b.key()));
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Kind;

    fn definitions(names: &BTreeMap<String, String>) -> Definitions {
        let resource = |(name, content): (&String, &String)| {
            let key = ResourceKey { kind: Kind::Host, name: name.clone() };
            (key, Resource::from_content(content.as_str().into()))
        };
        Definitions { resources: names.iter().map(resource).collect(), ..Definitions::default() }
    }

    proptest! {
        #[test]
        fn changes_applied_to_the_old_set_give_the_new_one(
            old in proptest::collection::btree_map("[a-e]", "[0-3]", 0..5),
            new in proptest::collection::btree_map("[a-e]", "[0-3]", 0..5),
        ) {
            let (mut old, new) = (definitions(&old), definitions(&new));
            for change in changes_between(&old, &new) {
                match change {
                    Change::Put(key, resource) => {
                        let before = old.resources.insert(key, resource.clone());
                        prop_assert!(before.is_none_or(|before| before.hash() != resource.hash()));
                    }
                    Change::Remove(key) => prop_assert!(old.resources.remove(&key).is_some()),
                }
            }
            prop_assert_eq!(&old, &new);
            prop_assert_eq!(old.root_hash(), new.root_hash());
        }
    }
}
