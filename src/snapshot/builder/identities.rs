//! Applications and their credentials.

use crate::builder::strings::Strings;
use crate::builder::{BuildError, index_of};
use crate::hash;
use crate::model::Model;
use crate::rows::{ApplicationRow, CredentialRow};

/// Both tables.
pub(crate) struct Identities {
    pub(crate) applications: Vec<ApplicationRow>,
    pub(crate) credentials: Vec<CredentialRow>,
}

impl Identities {
    pub(crate) fn keys(&self, seed: u64) -> Vec<(u64, u32)> {
        let rows = self.credentials.iter().enumerate();
        rows.map(|(at, row)| (hash::bytes(seed, &row.digest), at as u32)).collect()
    }
}

/// Lays the applications out in the model's order, each with its credentials behind one another.
pub(crate) fn compile(model: &Model, strings: &mut Strings) -> Result<Identities, BuildError> {
    let mut applications = Vec::with_capacity(model.applications.len());
    let mut credentials = Vec::new();
    for application in &model.applications {
        let (name_offset, name_length) = strings.add(application.name.as_bytes(), "an application's name")?;
        let owner = index_of(applications.len(), "the number of applications")?;
        applications.push(ApplicationRow {
            id: application.id,
            name_offset,
            credential_first: index_of(credentials.len(), "the number of credentials")?,
            credential_count: index_of(application.credentials.len(), "the number of credentials")?,
            name_length,
            reserved: 0,
        });
        for credential in &application.credentials {
            let (prefix_offset, prefix_length) =
                strings.add(credential.prefix.as_bytes(), "a credential's prefix")?;
            credentials.push(CredentialRow {
                digest: credential.digest,
                id: credential.id,
                not_after_unix_ms: credential.not_after_unix_ms.unwrap_or(u64::MAX),
                application: owner,
                pepper_id: credential.pepper_id,
                prefix_offset,
                prefix_length,
                reserved: 0,
            });
        }
    }
    index_of(credentials.len(), "the number of credentials")?;
    Ok(Identities { applications, credentials })
}
