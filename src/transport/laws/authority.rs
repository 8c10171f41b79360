//! A certificate authority for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::{Certificate, PrivateKey};

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

/// A leaf that an authority issued.
pub(super) struct Issued {
    pub(super) names: Vec<String>,
    pub(super) der: Vec<u8>,
    pub(super) key: Vec<u8>,
    serial: SerialNumber,
}

impl Issued {
    pub(super) fn certificate(&self) -> Certificate {
        Certificate {
            names: self.names.clone(),
            chain: vec![self.der.clone()],
            key: PrivateKey::new(self.key.clone()),
        }
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    pub(super) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2100)
    }

    pub(super) fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        let mut serial = [0; 8];
        aws_lc_rs::rand::fill(&mut serial).unwrap();
        serial[0] &= 0x7f;
        let serial = SerialNumber::from_slice(&serial);
        params.serial_number = Some(serial.clone());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Issued { names, der, key: key.serialize_der(), serial }
    }

    /// A revocation list that is valid until that year.
    pub(super) fn revoke(&self, revoked: &[&Issued], year: i32) -> Vec<u8> {
        let revoked_certs = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}
