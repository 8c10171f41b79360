//! Certificates: the chain and its key must fit, names and validity are taken from the leaf.

use ringway_snapshot::model::Certificate;
use rustls_pki_types::CertificateDer;

use super::Compiler;
use crate::config::reference::digest_of_public_key;
use crate::config::{Class, Diagnostic, Material, Place, Value};

/// A pair of `chain` and `key`; what does not fit is reported.
pub(super) fn compile(compiler: &mut Compiler<'_>, value: &Value, place: &Place) -> Option<Certificate> {
    let (chain, key) = (value.find("chain")?.referred()?, value.find("key")?.referred()?);
    let Some(Material::Certificates(ders)) = compiler.definitions.materials.get(&chain.digest) else {
        return missing(compiler, place, &chain.reference);
    };
    let Some(Material::PrivateKey(sealed)) = compiler.definitions.materials.get(&key.digest) else {
        return missing(compiler, place, &key.reference);
    };
    let leaf = ders.first()?;
    let facts = match facts(leaf) {
        Ok(facts) => facts,
        Err(reason) => {
            let diagnostic = Diagnostic::error(
                Class::Certificate,
                place.clone().key("chain"),
                "the first certificate cannot be used",
            );
            compiler.found.push(diagnostic.saying(reason));
            return None;
        }
    };
    if digest_of_public_key(&facts.public_key) != key.digest {
        let diagnostic = Diagnostic::error(
            Class::Certificate,
            place.clone().key("key"),
            "the key does not belong to the certificate",
        )
        .saying("this key signs for another certificate")
        .and(place.clone().key("chain"), "whose first certificate has another public key")
        .hint("the first certificate of the chain is the leaf, the one for your names");
        compiler.found.push(diagnostic);
        return None;
    }
    check_validity(compiler, &facts, place);
    Some(Certificate {
        names: facts.names,
        chain: ders.clone(),
        key: sealed.clone(),
        not_after_unix_ms: facts.not_after_unix_ms,
    })
}

fn missing(compiler: &mut Compiler<'_>, place: &Place, reference: &str) -> Option<Certificate> {
    let message = format!("the stored content of `{reference}` is gone");
    compiler.found.push(
        Diagnostic::error(Class::Damaged, place.clone(), message)
            .hint("apply the configuration again from its file"),
    );
    None
}

/// Warnings all: an old certificate must not keep other changes from being published.
fn check_validity(compiler: &mut Compiler<'_>, facts: &Facts, place: &Place) {
    let now = compiler.environment.now_unix_ms;
    let at = || place.clone().key("chain");
    let diagnostic = if facts.not_after_unix_ms < now {
        Diagnostic::warning(Class::Certificate, at(), "the certificate has expired")
            .saying(format!("on {}", date(facts.not_after_unix_ms)))
    } else if facts.not_before_unix_ms > now {
        Diagnostic::warning(Class::Certificate, at(), "the certificate is not valid yet")
            .saying(format!("from {}", date(facts.not_before_unix_ms)))
    } else if facts.not_after_unix_ms < now + 14 * 86_400_000 {
        Diagnostic::warning(Class::Certificate, at(), "the certificate expires soon")
            .saying(format!("on {}", date(facts.not_after_unix_ms)))
    } else {
        return;
    };
    compiler.found.push(diagnostic);
}

fn date(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "a far day".to_owned(), |date| date.date().to_string())
}

/// What a leaf says.
pub(super) struct Facts {
    pub(super) names: Vec<String>,
    pub(super) public_key: Vec<u8>,
    pub(super) not_before_unix_ms: u64,
    pub(super) not_after_unix_ms: u64,
}

/// Reads a leaf certificate.
pub(super) fn facts(leaf: &[u8]) -> Result<Facts, String> {
    let der = CertificateDer::from(leaf);
    let parsed = rustls::server::ParsedCertificate::try_from(&der).map_err(|error| error.to_string())?;
    let end_entity = webpki::EndEntityCert::try_from(&der).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = end_entity.valid_dns_names().map(str::to_ascii_lowercase).collect();
    names.sort();
    names.dedup();
    let (not_before_unix_ms, not_after_unix_ms) = validity(leaf).ok_or("its validity cannot be read")?;
    Ok(Facts {
        names,
        public_key: parsed.subject_public_key_info().to_vec(),
        not_before_unix_ms,
        not_after_unix_ms,
    })
}

/// The two times of a certificate (RFC 5280 §4.1): version, serial, algorithm and issuer are passed over.
fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, times, _) = element(rest)?;
    let (tag, from, rest) = element(times)?;
    let from = instant(tag, from)?;
    let (tag, to, _) = element(rest)?;
    Some((from, instant(tag, to)?))
}

/// Tag, content and what follows of one DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// UTCTime (`YYMMDDHHMMSSZ`, 1950 to 2049) or GeneralizedTime (`YYYYMMDDHHMMSSZ`); years before 1970 are 1970.
fn instant(tag: u8, text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let whole = match tag {
        0x17 => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| whole.get(from..to).and_then(|part| part.parse::<u8>().ok());
    let year: i32 = whole.get(..4)?.parse().ok()?;
    let month = time::Month::try_from(part(4, 6)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, part(6, 8)?).ok()?;
    let time = time::Time::from_hms(part(8, 10)?, part(10, 12)?, part(12, 14)?).ok()?;
    let seconds = time::PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    Some(u64::try_from(seconds).unwrap_or(0) * 1000)
}
