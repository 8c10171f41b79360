//! Resources by hash, and the definitions of a generation as the sum of the changes up to it.

use std::collections::BTreeMap;

use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{Store, StoreError, failed, hash_from_sql, to_sql};
use crate::domain::{Change, ContentHash, GenerationNumber, Resource, ResourceKey};

/// Rows of one `INSERT`; four parameters each stay far below SQLite's 32,766.
const ROWS_MAX: usize = 500;

/// The newest change of each resource up to generation `$1`, without those that were removed.
const AS_OF: &str = "FROM changes AS c JOIN resources AS r ON r.hash = c.resource \
     WHERE c.generation = (SELECT MAX(d.generation) FROM changes AS d \
     WHERE d.kind = c.kind AND d.name = c.name AND d.generation <= $1) ORDER BY c.kind, c.name";

impl Store {
    /// Hashes of all resources of a generation.
    ///
    /// # Errors
    /// The database failed.
    pub async fn entries(
        &self,
        number: GenerationNumber,
    ) -> Result<BTreeMap<ResourceKey, ContentHash>, StoreError> {
        let rows: Vec<(String, String, Vec<u8>)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT c.kind, c.name, c.resource {AS_OF}")))
                .bind(to_sql(number.0))
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read the definitions of a generation"))?;
        rows.into_iter()
            .map(|(kind, name, hash)| Ok((ResourceKey { kind, name }, hash_from_sql(&hash)?)))
            .collect()
    }

    /// All resources of a generation, ordered by key.
    ///
    /// # Errors
    /// The database failed.
    pub async fn resources(&self, number: GenerationNumber) -> Result<Vec<Resource>, StoreError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT c.kind, c.name, r.body {AS_OF}")))
                .bind(to_sql(number.0))
                .fetch_all(&self.readers)
                .await
                .map_err(failed("read the definitions of a generation"))?;
        let resource = |(kind, name, body)| Resource { key: ResourceKey { kind, name }, body };
        Ok(rows.into_iter().map(resource).collect())
    }
}

/// Writes bodies that are not there yet, then the delta.
pub(super) async fn insert_changes(
    transaction: &mut Transaction<'_, Sqlite>,
    number: GenerationNumber,
    changes: &[Change],
) -> Result<(), sqlx::Error> {
    for batch in changes.chunks(ROWS_MAX) {
        let rows: Vec<(&ResourceKey, Option<(ContentHash, &str)>)> = batch
            .iter()
            .map(|change| match change {
                Change::Put(resource) => (&resource.key, Some((resource.hash(), resource.body.as_str()))),
                Change::Remove(key) => (key, None),
            })
            .collect();
        let bodies: Vec<(ContentHash, &str)> = rows.iter().filter_map(|(_, body)| *body).collect();
        if !bodies.is_empty() {
            let mut insert = QueryBuilder::new("INSERT INTO resources (hash, body) ");
            insert.push_values(bodies, |mut row, (hash, body)| {
                row.push_bind(hash.0.to_vec()).push_bind(body.to_owned());
            });
            insert.push(" ON CONFLICT (hash) DO NOTHING");
            insert.build().execute(&mut **transaction).await?;
        }
        let mut insert = QueryBuilder::new("INSERT INTO changes (kind, name, generation, resource) ");
        insert.push_values(rows, |mut row, (key, body)| {
            row.push_bind(key.kind.clone())
                .push_bind(key.name.clone())
                .push_bind(to_sql(number.0))
                .push_bind(body.map(|(hash, _)| hash.0.to_vec()));
        });
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}
