//! Ids of applications and credentials: UUIDs that are given once and never to anything else.
//!
//! An application keeps its id for as long as definitions name it without a break; one that was taken out and is defined again
//! is another one, and so is a credential. A rollback brings back the ids of the generation that it restores.

use std::collections::BTreeMap;

use ringway_snapshot::model::Model;

/// What an id is given to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityKey {
    /// Name of the application.
    pub application: String,
    /// Digest of the credential; none for the application itself.
    pub credential: Option<[u8; 32]>,
}

/// The ids of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identities(pub BTreeMap<IdentityKey, u128>);

/// What an id was given to, from the first time on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id.
    pub id: u128,
    /// What it was given to.
    pub key: IdentityKey,
    /// In which generation first.
    pub since: super::GenerationNumber,
}

impl Identities {
    /// Gives everything in the model its id: the one that it has in `self`, or a new one. Returns all of them.
    pub fn assign(&self, model: &mut Model, mut make: impl FnMut() -> u128) -> Self {
        let mut given = BTreeMap::new();
        each(model, |key, id| {
            *id = self.0.get(&key).copied().unwrap_or_else(&mut make);
            given.insert(key, *id);
        });
        Self(given)
    }

    /// Gives what is known its id; the rest of the model stays as it is.
    pub fn restore(&self, model: &mut Model) {
        each(model, |key, id| *id = self.0.get(&key).copied().unwrap_or(*id));
    }

    /// What leads from `self` to `newer`: ids that are new or others, and, without an id, what went away.
    pub fn changes(&self, newer: &Self) -> Vec<(IdentityKey, Option<u128>)> {
        let fresh = newer.0.iter().filter(|(key, id)| self.0.get(*key) != Some(*id));
        let gone = self.0.keys().filter(|key| !newer.0.contains_key(*key));
        let fresh = fresh.map(|(key, id)| (key.clone(), Some(*id)));
        fresh.chain(gone.map(|key| (key.clone(), None))).collect()
    }
}

fn each(model: &mut Model, mut see: impl FnMut(IdentityKey, &mut u128)) {
    for application in &mut model.applications {
        let key = |credential| IdentityKey { application: application.name.clone(), credential };
        see(key(None), &mut application.id);
        for credential in &mut application.credentials {
            see(key(Some(credential.digest)), &mut credential.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_snapshot::model::{Application, Credential};

    use super::*;

    fn model(names: &[&str]) -> Model {
        let credential = Credential {
            id: 0,
            pepper_id: 0,
            digest: [7; 32],
            prefix: String::new(),
            not_after_unix_ms: None,
        };
        let application = |name: &&str| Application {
            name: (*name).to_owned(),
            id: 0,
            credentials: vec![credential.clone()],
        };
        Model { applications: names.iter().map(application).collect(), ..Model::default() }
    }

    fn ids(model: &Model) -> Vec<u128> {
        model.applications.iter().flat_map(|one| [one.id, one.credentials[0].id]).collect()
    }

    #[test]
    fn what_stays_keeps_its_id_and_what_comes_back_is_another() {
        let mut last = 0;
        let mut make = || {
            last += 1;
            last
        };
        let mut both = model(&["acme", "zeta"]);
        let first = Identities::default().assign(&mut both, &mut make);
        assert_eq!(ids(&both), [1, 2, 3, 4]);
        let mut one = model(&["zeta"]);
        let second = first.assign(&mut one, &mut make);
        assert_eq!(ids(&one), [3, 4]);
        assert_eq!(first.changes(&second).iter().filter(|(_, id)| id.is_none()).count(), 2);
        let mut again = model(&["acme", "zeta"]);
        let third = second.assign(&mut again, &mut make);
        assert_eq!(ids(&again), [5, 6, 3, 4]);
        assert_eq!(second.changes(&third).len(), 2);
        let mut restored = model(&["acme"]);
        first.restore(&mut restored);
        assert_eq!(ids(&restored), [1, 2]);
    }
}
