//! What compiling needs from outside, given in: files, variables, keys, identities and time.

use std::fmt;
use std::path::Path;

use ringway_snapshot::keys::Pepper;
use ringway_snapshot::seal::SealKey;

/// A self-signed certificate and its key.
pub struct SelfSigned {
    /// DER, one certificate.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER, clear; it is sealed at once.
    pub key: Vec<u8>,
}

/// Functions and values from outside. The core reads no file, variable, clock or random source by itself.
#[derive(Clone, Copy)]
pub struct CompileEnvironment<'a> {
    /// Reads a file that is referred to; the path is joined to the folder of its document. Errors are said to the person.
    pub read_file: &'a dyn Fn(&Path) -> Result<Vec<u8>, String>,
    /// Reads an environment variable.
    pub read_variable: &'a dyn Fn(&str) -> Option<String>,
    /// Seals private keys.
    pub seal_key: &'a SealKey,
    /// Under which API keys are digested.
    pub pepper: &'a Pepper,
    /// Gives the self-signed certificate for these names: the same one as long as it is valid.
    pub self_signed: &'a dyn Fn(&[String]) -> Result<SelfSigned, String>,
    /// For the validity of certificates and credentials.
    pub now_unix_ms: u64,
}

impl fmt::Debug for CompileEnvironment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompileEnvironment").field("now_unix_ms", &self.now_unix_ms).finish_non_exhaustive()
    }
}
