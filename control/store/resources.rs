//! Resources by hash, and the definitions of a generation as the sum of the changes up to it.

use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{Change, Store, StoreError, failed, to_sql};
use crate::config::{Definitions, Kind, Resource, ResourceKey};
use crate::domain::GenerationNumber;

/// Rows of one `INSERT`; four parameters each stay far below SQLite's 32,766.
const ROWS_MAX: usize = 500;

impl Store {
    /// The definitions of a generation, with all materials that the store knows.
    ///
    /// # Errors
    /// The database failed, or holds what a newer version wrote.
    pub async fn definitions(&self, number: GenerationNumber) -> Result<Definitions, StoreError> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT c.kind, c.name, r.body FROM changes AS c JOIN resources AS r ON r.hash = c.resource \
             WHERE c.generation = (SELECT MAX(d.generation) FROM changes AS d \
             WHERE d.kind = c.kind AND d.name = c.name AND d.generation <= $1)",
        )
        .bind(to_sql(number.0))
        .fetch_all(&self.readers)
        .await
        .map_err(failed("read the definitions of a generation"))?;
        let resources = rows.into_iter().map(|(section, name, body)| {
            let kind = Kind::of_section(&section)
                .ok_or_else(|| StoreError::Corrupt(format!("a resource of the kind {section}")))?;
            Ok((ResourceKey { kind, name }, Resource::from_content(body.into())))
        });
        let resources = resources.collect::<Result<_, StoreError>>()?;
        Ok(Definitions { resources, materials: self.materials().await? })
    }
}

/// Writes bodies that are not there yet, then the delta.
pub(super) async fn insert_changes(
    transaction: &mut Transaction<'_, Sqlite>,
    number: GenerationNumber,
    changes: &[Change],
) -> Result<(), sqlx::Error> {
    for batch in changes.chunks(ROWS_MAX) {
        let bodies: Vec<&Resource> = batch
            .iter()
            .filter_map(|change| match change {
                Change::Put(_, resource) => Some(resource),
                Change::Remove(_) => None,
            })
            .collect();
        if !bodies.is_empty() {
            let mut insert = QueryBuilder::new("INSERT INTO resources (hash, body) ");
            insert.push_values(bodies, |mut row, resource| {
                row.push_bind(resource.hash().0.to_vec()).push_bind(resource.content().to_owned());
            });
            insert.push(" ON CONFLICT (hash) DO NOTHING");
            insert.build().execute(&mut **transaction).await?;
        }
        let mut insert = QueryBuilder::new("INSERT INTO changes (kind, name, generation, resource) ");
        insert.push_values(batch, |mut row, change| {
            let hash = match change {
                Change::Put(_, resource) => Some(resource.hash().0.to_vec()),
                Change::Remove(_) => None,
            };
            row.push_bind(change.key().kind.section())
                .push_bind(change.key().name.clone())
                .push_bind(to_sql(number.0))
                .push_bind(hash);
        });
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}
