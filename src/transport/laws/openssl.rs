//! The same with OpenSSL on the other side.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringway_rt::{self as rt, DriverChoice};

use crate::{
    Alpn, ClientAuth, ClientProfile, ClientTls, Handshake, Refused, ServerProfile, ServerTls, TlsFailure,
    Verify, Version, accept, connect,
};

use super::{Authority, Issued, built, listener, on_both, profile, read_exactly, soon, worker, write_all};

on_both! {
    openssl_talks_to_us => client;
    openssl_resumes_a_session => resumed;
    openssl_shows_a_certificate => shows;
    openssl_is_talked_to => server;
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for part in line.chunks(3) {
            let word =
                part.iter().chain(&[0, 0]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
            for digit in 0..4 {
                let pad = digit > part.len();
                text.push(if pad { '=' } else { char::from(ALPHABET[word >> (18 - 6 * digit) & 63]) });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// A folder with an authority and a leaf as PEM files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(authority: &Authority, leaf: &Issued) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("ca.pem", &pem("CERTIFICATE", &authority.der()));
        files.write("leaf.pem", &pem("CERTIFICATE", &leaf.der));
        files.write("leaf.key", &pem("PRIVATE KEY", &leaf.key));
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// `openssl s_client` that verifies us.
fn s_client(address: SocketAddr, files: &Path, arguments: &[&str]) -> Child {
    Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "a.test", "-CAfile", "ca.pem"])
        .args(["-verify_return_error", "-verify_hostname", "a.test", "-ign_eof", "-nocommands"])
        .args(arguments)
        .current_dir(files)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed")
}

/// Accepts one connection of `openssl s_client`, answers a line, ends in order, and gives what it printed.
fn meets(
    choice: DriverChoice,
    tls: &ServerTls,
    files: &Files,
    arguments: &[&str],
) -> (Result<Handshake, Refused>, String) {
    worker(choice, || async {
        let (listener, address) = listener();
        let mut child = s_client(address, files.0.path(), arguments);
        let (io, _) = listener.accept().await.unwrap();
        let mut input = child.stdin.take().unwrap();
        // A client that was refused is gone already.
        let _ = input.write_all(b"hello\n");
        let served = match accept(io, tls, soon()).await {
            Ok((stream, agreed)) => {
                assert_eq!(read_exactly(&stream, 6).await, b"hello\n");
                write_all(&stream, b"welcome\n").await.unwrap();
                stream.shutdown_write().await.unwrap();
                Ok(agreed)
            }
            Err(refused) => Err(refused),
        };
        drop(input);
        let output = child.wait_with_output().unwrap();
        (
            served,
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat(),
        )
    })
}

fn client(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let files = Files::new(&authority, &authority.issue(&["client.test"]));
    let tls = built(profile(&authority));
    let arguments: [(&[&str], Version, &str); 6] = [
        (&["-tls1_3", "-alpn", "h2,http/1.1"], Version::Tls13, "ALPN protocol: http/1.1"),
        (&["-tls1_2", "-alpn", "http/1.1"], Version::Tls12, "ALPN protocol: http/1.1"),
        (
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            Version::Tls13,
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], Version::Tls13, "TLS_AES_128_GCM_SHA256"),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            Version::Tls12,
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            Version::Tls12,
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ),
    ];
    for (arguments, version, printed) in arguments {
        let (served, output) = meets(choice, &tls, &files, arguments);
        assert_eq!(served.unwrap().version, version);
        assert!(output.contains(printed) && output.contains("\nwelcome\n"), "{output}");
    }
    let (served, output) = meets(choice, &tls, &files, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"]);
    assert_eq!(served.unwrap_err().failure, TlsFailure::NoSharedCipher);
    assert!(output.contains("handshake failure"), "{output}");
    let (served, output) = meets(choice, &tls, &files, &["-servername", "b.test"]);
    let refused = served.unwrap_err();
    assert_eq!(
        (refused.failure, refused.server_name.as_deref()),
        (TlsFailure::UnrecognizedName, Some("b.test"))
    );
    assert!(output.contains("unrecognized name"), "{output}");
}

fn resumed(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let files = Files::new(&authority, &authority.issue(&["client.test"]));
    let nodes = [built(profile(&authority)), built(profile(&authority))];
    for version in ["-tls1_2", "-tls1_3"] {
        let (served, output) = meets(choice, &nodes[0], &files, &[version, "-sess_out", "session.pem"]);
        assert!(!served.unwrap().resumed, "{output}");
        let (served, output) = meets(choice, &nodes[1], &files, &[version, "-sess_in", "session.pem"]);
        assert!(served.unwrap().resumed && output.contains("Reused, TLS"), "{output}");
    }
}

fn shows(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let shown = authority.issue(&["client.test"]);
    let files = Files::new(&authority, &shown);
    let with = ServerProfile {
        client: ClientAuth::Require,
        client_ca: vec![authority.der()],
        client_crls: vec![authority.revoke(&[], 2100)],
        ..profile(&authority)
    };
    let tls = built(with);
    for version in ["-tls1_2", "-tls1_3"] {
        let (served, output) =
            meets(choice, &tls, &files, &[version, "-cert", "leaf.pem", "-key", "leaf.key"]);
        assert_eq!(served.unwrap().certificates[0], shown.der, "{output}");
        let (served, output) = meets(choice, &tls, &files, &[version]);
        assert_eq!(served.unwrap_err().failure, TlsFailure::ClientCertificateRequired);
        // TLS 1.2 has no alert of that name (RFC 5246 §7.2.2).
        let said = output.contains("certificate required") || output.contains("handshake failure");
        assert!(said, "{output}");
    }
}

fn upstream(authority: &Authority) -> ClientTls {
    ClientTls::build(&ClientProfile {
        name: "up".to_owned(),
        ca: vec![authority.der()],
        certificate: None,
        alpn: vec![Alpn::Http1],
        minimum: Version::Tls12,
        verify: Verify::Full,
    })
    .unwrap()
}

/// `openssl s_server`, killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(files: &Files, arguments: &[&str]) -> (Self, SocketAddr) {
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-cert",
                "leaf.pem",
                "-key",
                "leaf.key",
                "-alpn",
                "http/1.1",
            ])
            .args(arguments)
            .current_dir(files.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Self);
        let mut server = child.expect("openssl is installed");
        // It prints `ACCEPT 127.0.0.1:PORT` once it listens.
        let output = BufReader::new(server.0.stdout.as_mut().unwrap());
        let address =
            output.lines().find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.trim().parse().ok());
        (server, address.unwrap())
    }
}

fn server(choice: DriverChoice) {
    let authority = Authority::new("ca");
    let files = Files::new(&authority, &authority.issue(&["a.test"]));
    for (version, arguments) in [(Version::Tls13, ["-tls1_3"]), (Version::Tls12, ["-tls1_2"])] {
        let tls = upstream(&authority);
        // `-rev` sends each line back reversed.
        let (_server, address) = Server::start(&files, &[&arguments[..], &["-rev"]].concat());
        worker(choice, || async {
            for resumed in [false, true] {
                let io = rt::Stream::connect(address, soon()).await.unwrap();
                let (stream, agreed) = connect(io, &tls, "a.test", soon()).await.unwrap();
                assert_eq!(
                    (agreed.version, agreed.resumed, agreed.alpn),
                    (version, resumed, Some(Alpn::Http1))
                );
                assert_eq!(agreed.certificates.len(), 1);
                stream.deadline().arm(rt::Side::Read, soon());
                write_all(&stream, b"abc\n").await.unwrap();
                assert_eq!(read_exactly(&stream, 4).await, b"cba\n");
                stream.shutdown_write().await.unwrap();
            }
            let io = rt::Stream::connect(address, soon()).await.unwrap();
            let failure = connect(io, &tls, "b.test", soon()).await.err();
            assert_eq!(failure, Some(TlsFailure::NameMismatch));
        });
    }
}
