//! Secrets, sealed once: the same plain text keeps the same sealed bytes in every generation, so that
//! equal definitions give equal snapshots.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::{Store, StoreError, failed};

/// Rows of one `INSERT`.
const ROWS_MAX: usize = 500;

impl Store {
    /// All sealed secrets by the keyed digest of their plain text.
    ///
    /// # Errors
    /// The database failed.
    pub async fn secrets(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let rows: Vec<(Vec<u8>, Vec<u8>)> = sqlx::query_as("SELECT digest, sealed FROM secrets")
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read sealed secrets"))?;
        Ok(rows.into_iter().collect())
    }

    /// Keeps new ones; one that is there already stays as it is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn keep_secrets(&self, secrets: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        for rows in secrets.chunks(ROWS_MAX) {
            let mut insert = QueryBuilder::new("INSERT INTO secrets (digest, sealed) ");
            insert.push_values(rows, |mut row, (digest, sealed)| {
                row.push_bind(digest.clone()).push_bind(sealed.clone());
            });
            insert.push(" ON CONFLICT (digest) DO NOTHING");
            insert.build().execute(&self.writer).await.map_err(failed("keep sealed secrets"))?;
        }
        Ok(())
    }
}
