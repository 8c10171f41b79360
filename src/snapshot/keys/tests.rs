//! Laws of keys.

use expect_test::expect;

use super::{KeyFileError, Pepper, SigningKey, Trust, api_key_digest};
use crate::hex;
use crate::seal::SealKey;

fn signing(byte: u8) -> SigningKey {
    SigningKey::from_seed([byte; 32]).unwrap()
}

#[test]
fn a_signature_holds_for_its_key_domain_and_message_alone() {
    let signature = signing(1).sign(b"domain", b"message");
    assert!(Trust::of(&signing(1)).verifies(b"domain", b"message", &signature));
    assert!(!Trust::of(&signing(2)).verifies(b"domain", b"message", &signature));
    assert!(!Trust::of(&signing(1)).verifies(b"other", b"message", &signature));
    assert!(!Trust::of(&signing(1)).verifies(b"domain", b"massage", &signature));
    assert!(!Trust::default().verifies(b"domain", b"message", &signature));
}

#[test]
fn while_keys_rotate_either_is_believed() {
    let trust = Trust { keys: vec![signing(2).verifying_key(), signing(1).verifying_key()] };
    assert!(trust.verifies(b"d", b"m", &signing(1).sign(b"d", b"m")));
    assert!(trust.verifies(b"d", b"m", &signing(2).sign(b"d", b"m")));
}

#[test]
fn key_files_read_as_they_were_written() {
    let read = SigningKey::decode(signing(7).encode().expose()).unwrap();
    assert_eq!(read.verifying_key(), signing(7).verifying_key());
    let trust = Trust { keys: vec![signing(1).verifying_key(), signing(2).verifying_key()] };
    assert_eq!(Trust::decode(trust.encode().as_bytes()), Ok(trust));
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let public = Trust::of(&signing(1)).encode();
    assert_eq!(SigningKey::decode(public.as_bytes()).err(), Some(KeyFileError::Foreign));
    assert_eq!(Trust::decode(signing(1).encode().expose()), Err(KeyFileError::Foreign));
    assert_eq!(Trust::decode(b"ringway verifying keys 1\n"), Err(KeyFileError::Malformed));
    assert_eq!(SigningKey::decode(b"ringway signing key 1\n00").err(), Some(KeyFileError::Malformed));
}

#[test]
fn a_signing_key_prints_its_public_half_alone() {
    let printed = format!("{:?}", signing(0x5a));
    assert!(printed.contains(&hex::encode(&signing(0x5a).verifying_key().0)));
    assert!(!printed.contains("5a5a5a"), "{printed}");
}

/// Stored digests must outlive every release: a change here locks every application out.
#[test]
fn the_digest_of_an_api_key_never_changes() {
    let pepper = Pepper::of(&SealKey::from_bytes([9; 32]).unwrap()).unwrap();
    let digest = hex::encode(&api_key_digest(&pepper, b"rw_live_ab12cd34"));
    expect!["9747989bb327576feeb8446dd3233aeb767911a67b5c04176595d4c9b823edcd"].assert_eq(&digest);
}
