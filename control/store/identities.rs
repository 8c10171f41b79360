//! Ids of applications and credentials: the sum of the changes up to a generation, and whose an id was.

use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{Store, StoreError, failed, from_sql, to_sql};
use crate::domain::{GenerationNumber, Identities, Identity, IdentityKey};

/// Rows of one `INSERT`.
const ROWS_MAX: usize = 500;

impl Store {
    /// The ids of a generation.
    ///
    /// # Errors
    /// The database failed, or holds what a newer version wrote.
    pub async fn identities(&self, number: GenerationNumber) -> Result<Identities, StoreError> {
        let rows: Vec<(String, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT i.application, i.credential, i.id FROM identities AS i WHERE i.id IS NOT NULL AND \
             i.generation = (SELECT MAX(j.generation) FROM identities AS j WHERE j.application = i.application \
             AND j.credential = i.credential AND j.generation <= $1)",
        )
        .bind(to_sql(number.0))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("read the ids of a generation"))?;
        let one = |(application, credential, id): (String, Vec<u8>, Vec<u8>)| {
            Ok((key_of(application, &credential)?, id_of(&id)?))
        };
        Ok(Identities(rows.into_iter().map(one).collect::<Result<_, StoreError>>()?))
    }

    /// What an id was given to, in whatever generation.
    ///
    /// # Errors
    /// The database failed, or holds what a newer version wrote.
    pub async fn identity(&self, id: u128) -> Result<Option<Identity>, StoreError> {
        let row: Option<(String, Vec<u8>, i64)> = sqlx::query_as(
            "SELECT application, credential, generation FROM identities WHERE id = $1 ORDER BY generation LIMIT 1",
        )
        .bind(id.to_be_bytes().to_vec())
        .fetch_optional(&self.readers)
        .await
        .map_err(failed("read an id"))?;
        let Some((application, credential, generation)) = row else { return Ok(None) };
        let (key, since) = (key_of(application, &credential)?, GenerationNumber(from_sql(generation)?));
        Ok(Some(Identity { id, key, since }))
    }
}

/// Appends what changed with a generation.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    number: GenerationNumber,
    changes: &[(IdentityKey, Option<u128>)],
) -> Result<(), sqlx::Error> {
    for rows in changes.chunks(ROWS_MAX) {
        let mut insert =
            QueryBuilder::new("INSERT INTO identities (application, credential, generation, id) ");
        insert.push_values(rows, |mut row, (key, id)| {
            row.push_bind(key.application.clone())
                .push_bind(key.credential.map(|digest| digest.to_vec()).unwrap_or_default())
                .push_bind(to_sql(number.0))
                .push_bind(id.map(|id| id.to_be_bytes().to_vec()));
        });
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}

fn key_of(application: String, credential: &[u8]) -> Result<IdentityKey, StoreError> {
    let credential = match credential {
        [] => None,
        digest => Some(
            digest.try_into().map_err(|_| StoreError::Corrupt("the digest of a credential".to_owned()))?,
        ),
    };
    Ok(IdentityKey { application, credential })
}

fn id_of(bytes: &[u8]) -> Result<u128, StoreError> {
    let bytes =
        bytes.try_into().map_err(|_| StoreError::Corrupt(format!("an id of {} bytes", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}
