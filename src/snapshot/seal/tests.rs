//! Laws of sealing.

use super::{CERTIFICATE_KEY, KeyRing, SealError, SealKey};
use crate::keys::{KeyFileError, Purpose};

fn key(byte: u8) -> SealKey {
    SealKey::from_bytes([byte; 32]).unwrap()
}

#[test]
fn what_was_sealed_opens_in_its_context_alone() {
    let sealed = key(1).seal(b"a private key", CERTIFICATE_KEY).unwrap();
    assert_eq!(key(1).open(&sealed, CERTIFICATE_KEY).unwrap().expose(), b"a private key");
    assert_eq!(key(1).open(&sealed, "password"), Err(SealError::Refused(key(1).id())));
}

#[test]
fn another_key_does_not_open() {
    let sealed = key(1).seal(b"a private key", CERTIFICATE_KEY).unwrap();
    assert_eq!(key(2).open(&sealed, CERTIFICATE_KEY), Err(SealError::UnknownKey(key(1).id())));
}

#[test]
fn a_changed_byte_does_not_open() {
    let sealed = key(1).seal(b"a private key", CERTIFICATE_KEY).unwrap();
    for at in 0..sealed.ciphertext.len() {
        let mut changed = sealed.clone();
        changed.ciphertext[at] ^= 1;
        assert!(key(1).open(&changed, CERTIFICATE_KEY).is_err());
    }
    for at in 0..12 {
        let mut changed = sealed.clone();
        changed.nonce[at] ^= 1;
        assert!(key(1).open(&changed, CERTIFICATE_KEY).is_err());
    }
}

#[test]
fn equal_secrets_seal_to_equal_bytes_and_different_ones_take_different_nonces() {
    let one = key(1).seal(b"one", CERTIFICATE_KEY).unwrap();
    assert_eq!(one, key(1).seal(b"one", CERTIFICATE_KEY).unwrap());
    assert_ne!(one.nonce, key(1).seal(b"two", CERTIFICATE_KEY).unwrap().nonce);
    assert_ne!(one.nonce, key(1).seal(b"one", "password").unwrap().nonce);
}

#[test]
fn no_key_prints_its_bytes() {
    let ring = KeyRing::new(vec![key(0x5a)]).unwrap();
    let printed = format!("{ring:?} {:?}", key(0x5a).seal(b"hunter2", "x").unwrap());
    assert!(!printed.contains("5a5a") && !printed.contains("90") && !printed.contains("hunter"), "{printed}");
}

#[test]
fn a_ring_opens_with_any_of_its_keys_and_survives_its_file() {
    let ring = KeyRing::new(vec![key(2), key(1)]).unwrap();
    let read = KeyRing::decode(ring.encode().expose()).unwrap();
    assert_eq!(read.newest().unwrap().id(), key(2).id());
    let old = key(1).seal(b"old", "x").unwrap();
    assert_eq!(read.open(&old, "x").unwrap().expose(), b"old");
    let foreign = key(3).seal(b"foreign", "x").unwrap();
    assert_eq!(read.open(&foreign, "x"), Err(SealError::UnknownKey(key(3).id())));
}

#[test]
fn a_file_that_is_no_ring_is_refused() {
    assert_eq!(KeyRing::decode(b"").err(), Some(KeyFileError::Foreign));
    assert_eq!(KeyRing::decode(b"\xff").err(), Some(KeyFileError::Foreign));
    assert_eq!(KeyRing::decode(b"ringway seal keys 1\n").err(), Some(KeyFileError::Malformed));
    assert_eq!(KeyRing::decode(b"ringway seal keys 1\nabc\n").err(), Some(KeyFileError::Malformed));
}

#[test]
fn each_purpose_and_window_has_its_own_key() {
    let purposes =
        [Purpose::Pepper, Purpose::Tickets, Purpose::StatelessReset, Purpose::Retry, Purpose::Cipher];
    let mut seen = Vec::new();
    for purpose in purposes {
        for window in [0, 1] {
            let secret = key(1).derive(purpose, window).unwrap();
            assert!(!seen.contains(&secret));
            seen.push(secret);
        }
    }
}
