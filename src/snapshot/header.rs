//! The header: what is checked before anything else of a file is looked at.
//!
//! Fixed-width and little-endian, outside of rkyv:
//!
//! ```text
//!   0  magic           8 bytes
//!   8  schema version  u32
//!  12  zero            u32
//!  16  generation      u64       the one that this file was first compiled for
//!  24  parent          32 bytes  content hash of the snapshot before it
//!  56  length          u64       of the whole file
//!  64  content hash    32 bytes  blake3 of bytes 0..16 and of all from 160
//!  96  signature       64 bytes  Ed25519 over bytes 0..96
//! 160  section table   {kind u32, zero u32, offset u64, length u64} for each of [`Section::ALL`], in that order
//! ```
//!
//! The content hash leaves generation, parent and signature out: equal models give equal content, and so one
//! file. A rollback publishes a new generation with an old file, so the generation that counts stands
//! in [`crate::current`], not here (decisions 15). Whoever compiles a content that is on disk already keeps that file.

use std::ops::Range;

use crate::current::ContentHash;
use crate::error::SnapshotError;
use crate::keys::{SigningKey, Trust};

/// First bytes of every snapshot. The last one is what ends a text file, so that none is taken for one.
pub const MAGIC: [u8; 8] = *b"RINGWAY\x1a";
/// Version of all that this crate lays out. It goes up with any change of layout or meaning.
pub const SCHEMA: u32 = 5;
/// Bytes before the section table.
pub const FIXED_BYTES: usize = 160;
/// Bytes of the section table.
pub const TABLE_BYTES: usize = Section::ALL.len() * ENTRY_BYTES;
/// Bytes before the first section.
pub const HEADER_BYTES: usize = FIXED_BYTES + TABLE_BYTES;
/// Sections start at multiples of this, so that no short row lies across two cache lines.
pub const SECTION_ALIGN: usize = 64;

const ENTRY_BYTES: usize = 24;
const IDENTITY: Range<usize> = 0..16;
const SIGNED: Range<usize> = 0..96;
const DOMAIN: &[u8] = b"ringway snapshot 1";

/// The sections, in the order in which they stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Section {
    /// One [`crate::rows::MetaRow`].
    Meta = 1,
    /// All strings, UTF-8.
    Arena = 2,
    /// Hash table of hosts.
    HostSlots = 3,
    /// Hosts.
    Hosts = 4,
    /// Hash table of exact paths and prefixes.
    PathSlots = 5,
    /// Routes.
    Routes = 6,
    /// What only few routes have.
    Extras = 7,
    /// Conditions on fields and parameters.
    Conditions = 8,
    /// Methods without a bit.
    Methods = 9,
    /// Variables of templates.
    Variables = 10,
    /// Regular expressions.
    Regexes = 11,
    /// Hash table of literal segments.
    NodeSlots = 12,
    /// Nodes of templates.
    Nodes = 13,
    /// Hash table of credentials.
    CredentialSlots = 14,
    /// Credentials.
    Credentials = 15,
    /// Applications.
    Applications = 16,
    /// Archived [`crate::model::Settings`].
    Settings = 17,
    /// Archived listeners.
    Listeners = 18,
    /// Archived TLS profiles.
    Tls = 19,
    /// Archived upstreams.
    Upstreams = 20,
    /// Archived authenticators.
    Authenticators = 21,
    /// Archived limits.
    Limits = 22,
    /// Archived chains.
    Chains = 23,
    /// Archived actions; equal ones are one.
    Actions = 24,
}

impl Section {
    /// All of them, in order.
    pub const ALL: [Self; 24] = [
        Self::Meta,
        Self::Arena,
        Self::HostSlots,
        Self::Hosts,
        Self::PathSlots,
        Self::Routes,
        Self::Extras,
        Self::Conditions,
        Self::Methods,
        Self::Variables,
        Self::Regexes,
        Self::NodeSlots,
        Self::Nodes,
        Self::CredentialSlots,
        Self::Credentials,
        Self::Applications,
        Self::Settings,
        Self::Listeners,
        Self::Tls,
        Self::Upstreams,
        Self::Authenticators,
        Self::Limits,
        Self::Chains,
        Self::Actions,
    ];
}

/// Where each section lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout([(usize, usize); Section::ALL.len()]);

impl Layout {
    /// The section's bytes.
    #[must_use]
    #[inline]
    pub fn of<'a>(&self, bytes: &'a [u8], section: Section) -> &'a [u8] {
        self.0
            .get(section as usize - 1)
            .and_then(|(offset, length)| bytes.get(*offset..)?.get(..*length))
            .unwrap_or_default()
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The generation that the file was first compiled for; what is served now stands in [`crate::current`].
    pub generation: u64,
    /// The content before it; all zero for the first.
    pub parent: ContentHash,
    /// Bytes of the whole file.
    pub length: u64,
    /// Name of the content.
    pub hash: ContentHash,
    signature: [u8; 64],
}

impl Header {
    /// Reads and checks a header against the file: magic, schema version and length. Checksum and signature are
    /// left to [`Header::verify`].
    ///
    /// # Errors
    /// [`SnapshotError`] up to and with [`SnapshotError::Trailing`].
    pub fn read(file: &[u8]) -> Result<Self, SnapshotError> {
        let truncated = |need: u64| SnapshotError::Truncated { have: file.len() as u64, need };
        let mut rest = file;
        let magic = take::<8>(&mut rest).ok_or(truncated(HEADER_BYTES as u64))?;
        if magic != MAGIC {
            return Err(SnapshotError::Foreign);
        }
        let read = |rest: &mut &[u8]| {
            let schema = u32::from_le_bytes(take(rest)?);
            let reserved = u32::from_le_bytes(take(rest)?);
            let header = Self {
                generation: u64::from_le_bytes(take(rest)?),
                parent: ContentHash(take(rest)?),
                length: u64::from_le_bytes(take(rest)?),
                hash: ContentHash(take(rest)?),
                signature: take(rest)?,
            };
            Some((schema, reserved, header))
        };
        let (schema, reserved, header) = read(&mut rest).ok_or(truncated(HEADER_BYTES as u64))?;
        match schema {
            SCHEMA => {}
            newer if newer > SCHEMA => return Err(SnapshotError::Newer(newer)),
            older => return Err(SnapshotError::Older(older)),
        }
        if reserved != 0 {
            return Err(SnapshotError::Foreign);
        }
        let (have, need) = (file.len() as u64, header.length.max(HEADER_BYTES as u64));
        match have.cmp(&need) {
            std::cmp::Ordering::Less => Err(truncated(need)),
            std::cmp::Ordering::Greater => Err(SnapshotError::Trailing { have, need }),
            std::cmp::Ordering::Equal => Ok(header),
        }
    }

    /// Checks checksum and signature, in this order: a damaged file is called that, and not unsigned.
    ///
    /// # Errors
    /// [`SnapshotError::Corrupt`], [`SnapshotError::Unsigned`], [`SnapshotError::Untrusted`].
    pub fn verify(&self, file: &[u8], trust: &Trust) -> Result<(), SnapshotError> {
        if content_hash(file) != self.hash {
            return Err(SnapshotError::Corrupt);
        }
        if self.signature == [0; 64] {
            return Err(SnapshotError::Unsigned);
        }
        let signed = file.get(SIGNED).unwrap_or_default();
        if trust.verifies(DOMAIN, signed, &self.signature) { Ok(()) } else { Err(SnapshotError::Untrusted) }
    }

    /// Reads the section table. Sections follow each other in order, each at the next multiple of
    /// [`SECTION_ALIGN`], and the last one ends the file.
    ///
    /// # Errors
    /// [`SnapshotError::Layout`] with the first section for which this does not hold.
    pub fn layout(file: &[u8]) -> Result<Layout, SnapshotError> {
        let mut layout = [(0, 0); Section::ALL.len()];
        let mut table = file.get(FIXED_BYTES..HEADER_BYTES).unwrap_or_default();
        let mut end = HEADER_BYTES;
        for (section, place) in Section::ALL.into_iter().zip(&mut layout) {
            let (kind, reserved, offset, length) = entry(&mut table).ok_or(SnapshotError::Layout(section))?;
            let start = end.next_multiple_of(SECTION_ALIGN);
            if kind != section as u32 || reserved != 0 || offset != start as u64 {
                return Err(SnapshotError::Layout(section));
            }
            let past = offset.checked_add(length).filter(|past| *past <= file.len() as u64);
            end = past.ok_or(SnapshotError::Layout(section))? as usize;
            *place = (start, end - start);
        }
        if end == file.len() { Ok(Layout(layout)) } else { Err(SnapshotError::Layout(Section::Actions)) }
    }
}

/// Puts a file together: header, section table, sections (in the order of [`Section::ALL`]), signature.
#[must_use]
pub(crate) fn assemble(
    sections: &[Vec<u8>; Section::ALL.len()],
    generation: u64,
    parent: ContentHash,
    signing: &SigningKey,
) -> Vec<u8> {
    let total: usize = sections.iter().map(|section| section.len() + SECTION_ALIGN).sum();
    let mut file = Vec::with_capacity(HEADER_BYTES + total);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&SCHEMA.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&generation.to_le_bytes());
    file.extend_from_slice(&parent.0);
    file.resize(FIXED_BYTES, 0);
    let mut end = HEADER_BYTES;
    for (kind, section) in Section::ALL.into_iter().zip(sections) {
        let start = end.next_multiple_of(SECTION_ALIGN);
        file.extend_from_slice(&(kind as u32).to_le_bytes());
        file.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&(start as u64).to_le_bytes());
        file.extend_from_slice(&(section.len() as u64).to_le_bytes());
        end = start + section.len();
    }
    for section in sections {
        file.resize(file.len().next_multiple_of(SECTION_ALIGN), 0);
        file.extend_from_slice(section);
    }
    seal_header(&mut file, signing);
    file
}

/// Sets length, content hash and signature of a file to what its bytes now call for. Control calls it for the
/// file that it has put together; tests and fuzz targets for one that they have changed, to get past the
/// signature.
pub fn seal_header(file: &mut [u8], signing: &SigningKey) {
    let length = (file.len() as u64).to_le_bytes();
    put(file, 56, &length);
    let hash = content_hash(file).0;
    put(file, 64, &hash);
    let signature = signing.sign(DOMAIN, file.get(SIGNED).unwrap_or_default());
    put(file, 96, &signature);
}

fn content_hash(file: &[u8]) -> ContentHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(file.get(IDENTITY).unwrap_or_default());
    hasher.update(file.get(FIXED_BYTES..).unwrap_or_default());
    ContentHash(*hasher.finalize().as_bytes())
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn entry(table: &mut &[u8]) -> Option<(u32, u32, u64, u64)> {
    Some((
        u32::from_le_bytes(take(table)?),
        u32::from_le_bytes(take(table)?),
        u64::from_le_bytes(take(table)?),
        u64::from_le_bytes(take(table)?),
    ))
}
