//! What was last applied from each file or directory.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError, failed, from_sql, hash_from_sql, to_sql};
use crate::domain::{ContentHash, Generation, GenerationNumber};

/// The last content applied from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// The file, directory or `quick start`.
    pub source: String,
    /// Of its documents.
    pub hash: ContentHash,
    /// What came of it.
    pub generation: GenerationNumber,
    /// When, Unix milliseconds.
    pub applied_unix_ms: u64,
}

impl Store {
    /// All sources, the one applied last first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sources(&self) -> Result<Vec<SourceState>, StoreError> {
        let rows: Vec<(String, Vec<u8>, i64, i64)> = sqlx::query_as(
            "SELECT source, hash, generation, applied_unix_ms FROM sources \
             ORDER BY applied_unix_ms DESC, generation DESC",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed("read the sources"))?;
        rows.into_iter()
            .map(|(source, hash, generation, applied)| {
                Ok(SourceState {
                    source,
                    hash: hash_from_sql(&hash)?,
                    generation: GenerationNumber(from_sql(generation)?),
                    applied_unix_ms: from_sql(applied)?,
                })
            })
            .collect()
    }

    /// Notes that a source's content is what the newest generation holds already.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_source(
        &self,
        source: &str,
        hash: ContentHash,
        head: &Generation,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        let doing = "note a source";
        let mut transaction = self.writer.begin().await.map_err(failed(doing))?;
        let noted = Generation { created_unix_ms: now_unix_ms, ..head.clone() };
        upsert(&mut transaction, source, hash, &noted).await.map_err(failed(doing))?;
        transaction.commit().await.map_err(failed(doing))
    }
}

pub(super) async fn upsert(
    transaction: &mut Transaction<'_, Sqlite>,
    source: &str,
    hash: ContentHash,
    generation: &Generation,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO sources (source, hash, generation, applied_unix_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (source) DO UPDATE SET hash = excluded.hash, generation = excluded.generation, \
         applied_unix_ms = excluded.applied_unix_ms",
    )
    .bind(source.to_owned())
    .bind(hash.0.to_vec())
    .bind(to_sql(generation.number.0))
    .bind(to_sql(generation.created_unix_ms))
    .execute(&mut **transaction)
    .await
    .map(drop)
}
