//! The site of `bench/profile/`: what a gateway does beside the works of `cargo bench-peers`.

use std::path::PathBuf;

use crate::install::Tools;
use crate::peer::{Certificate, Place, set_up_with, write};
use crate::process::{Launch, free_port};
use crate::works::Work;

/// Definitions, requests and loads. A word between `@` stands for what differs from run to run.
const DEFINITIONS: &str = include_str!("../../profile/site.yaml");
const REQUESTS: &str = include_str!("../../profile/requests.txt");
const LOADS: &str = include_str!("../../profile/loads.txt");
/// Keys of its two applications.
const KEYS: [(&str, &str); 2] = [("acme", "acme-0123456789abcdef"), ("partner", "partner-0123456789abcdef")];
/// A load that mostly fails trains something else than what it is for.
const FAILS_IF: &str = "errors>50%";

/// A folder of its own, and what the places become.
pub(super) struct Site {
    pub(super) folder: PathBuf,
    /// Port of its listener without TLS.
    pub(super) plain: u16,
    places: Vec<(&'static str, String)>,
}

impl Site {
    /// In an empty folder, before an endpoint and another gateway.
    pub(super) fn new(folder: PathBuf, endpoint: u16, inner: u16) -> Result<Self, String> {
        let (plain, tls, nobody) = (free_port()?, free_port()?, free_port()?);
        let file = |name: &str| folder.join(name).display().to_string();
        let mut places = vec![
            ("@folder@", folder.display().to_string()),
            ("@plain@", plain.to_string()),
            ("@tls@", tls.to_string()),
            ("@nobody@", nobody.to_string()),
            ("@endpoint@", endpoint.to_string()),
            ("@inner@", inner.to_string()),
            ("@http@", file("http.txt")),
            ("@https@", file("https.txt")),
            ("@4k@", file("4k")),
            ("@64k@", file("64k")),
        ];
        for (name, key) in KEYS {
            write(&folder.join(name), key)?;
        }
        places.extend([("@acme@", KEYS[0].1.to_owned()), ("@partner@", KEYS[1].1.to_owned())]);
        let site = Self { folder, plain, places };
        for scheme in ["http", "https"] {
            let requests = site.put_in(REQUESTS).replace("@scheme@", scheme);
            write(&site.folder.join(format!("{scheme}.txt")), &requests)?;
        }
        write(&site.folder.join("4k"), &"y".repeat(4 << 10))?;
        write(&site.folder.join("64k"), &"y".repeat(64 << 10))?;
        Ok(site)
    }

    /// Compiles the definitions; what starts the gateway.
    pub(super) fn set_up(&self, tools: &Tools, work: &Work) -> Result<Launch, String> {
        let certificate = Certificate::new(&self.folder)?;
        // The ports and the certificate of its definitions are its own.
        let (folder, port, endpoint) = (self.folder.as_path(), self.plain, 0);
        let place = Place { folder, port, endpoint, work, tools, certificate: &certificate };
        Ok(set_up_with(&place, self.put_in(DEFINITIONS))?.launch)
    }

    /// The words of `ringway-load`, load by load.
    pub(super) fn loads(&self) -> Vec<Vec<String>> {
        let always = ["-q", "-k", "--threads", "1", "--fail-if", FAILS_IF].map(str::to_owned);
        let lines = LOADS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let words = |line: &str| self.put_in(line).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        lines.map(|line| [always.to_vec(), words(line)].concat()).collect()
    }

    fn put_in(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (place, value)| text.replace(place, value))
    }
}
