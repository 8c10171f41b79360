//! Materials: certificates, revocation lists and sealed keys that definitions refer to by digest.
//!
//! They are kept as they were when they were read, so that an older generation can be compiled again
//! when the files are long gone. Keys are sealed; nothing here is secret in the clear.

use std::collections::BTreeMap;

use ringway_snapshot::seal::Sealed;
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::{Store, StoreError, failed};
use crate::config::{Digest, Material};

/// Rows of one `INSERT`.
const ROWS_MAX: usize = 500;

/// A material as JSON; bytes are numbers' arrays written as hexadecimal text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Stored {
    Certificates(Vec<String>),
    RevocationLists(Vec<String>),
    PrivateKey { key_id: u32, nonce: String, ciphertext: String },
}

impl Store {
    /// All materials by digest.
    ///
    /// # Errors
    /// The database failed, or holds what a newer version wrote.
    pub async fn materials(&self) -> Result<BTreeMap<Digest, Material>, StoreError> {
        let rows: Vec<(Vec<u8>, String)> = sqlx::query_as("SELECT digest, body FROM materials")
            .fetch_all(&self.readers)
            .await
            .map_err(failed("read materials"))?;
        rows.iter()
            .map(|(digest, body)| {
                let corrupt = || StoreError::Corrupt("a material that cannot be read back".to_owned());
                let digest = Digest(digest.as_slice().try_into().map_err(|_| corrupt())?);
                Ok((digest, decode(body).ok_or_else(corrupt)?))
            })
            .collect()
    }
}

/// Keeps materials that are not there yet.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    materials: &[(Digest, Material)],
) -> Result<(), sqlx::Error> {
    for rows in materials.chunks(ROWS_MAX) {
        let mut insert = QueryBuilder::new("INSERT INTO materials (digest, body) ");
        insert.push_values(rows, |mut row, (digest, material)| {
            row.push_bind(digest.0.to_vec()).push_bind(encode(material));
        });
        insert.push(" ON CONFLICT (digest) DO NOTHING");
        insert.build().execute(&mut **transaction).await?;
    }
    Ok(())
}

fn encode(material: &Material) -> String {
    let all = |parts: &[Vec<u8>]| parts.iter().map(|part| hex(part)).collect();
    let stored = match material {
        Material::Certificates(chain) => Stored::Certificates(all(chain)),
        Material::RevocationLists(lists) => Stored::RevocationLists(all(lists)),
        Material::PrivateKey(sealed) => Stored::PrivateKey {
            key_id: sealed.key_id,
            nonce: hex(&sealed.nonce),
            ciphertext: hex(&sealed.ciphertext),
        },
    };
    // Numbers and texts alone: there is nothing in it that JSON could refuse.
    serde_json::to_string(&stored).unwrap_or_default()
}

fn decode(body: &str) -> Option<Material> {
    let all = |parts: Vec<String>| parts.iter().map(|part| unhex(part)).collect::<Option<Vec<_>>>();
    Some(match serde_json::from_str(body).ok()? {
        Stored::Certificates(chain) => Material::Certificates(all(chain)?),
        Stored::RevocationLists(lists) => Material::RevocationLists(all(lists)?),
        Stored::PrivateKey { key_id, nonce, ciphertext } => Material::PrivateKey(Sealed {
            key_id,
            nonce: unhex(&nonce)?.try_into().ok()?,
            ciphertext: unhex(&ciphertext)?,
        }),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_material_reads_back_as_it_was() {
        let sealed = Sealed { key_id: 7, nonce: [9; 12], ciphertext: vec![0, 255, 16] };
        for material in [
            Material::Certificates(vec![vec![48, 130], vec![]]),
            Material::RevocationLists(vec![vec![1]]),
            Material::PrivateKey(sealed),
        ] {
            assert_eq!(decode(&encode(&material)), Some(material));
        }
    }
}
