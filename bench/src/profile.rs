//! `cargo bench-profile`: makes the profile anew that `cargo build --release` optimises by (`bench/profile/`).
//!
//! `ringway` is built with counters in it. It does in turn the works of `cargo bench-peers`, where this program is the load, and
//! what `bench/profile/` has of everything else, where `ringway-load` is. Neither load has counters. What each process of
//! `ringway` counted is added up.

mod site;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::host::{self, LOAD_CORE, Meter, PROXY_CORE};
use crate::install::{self, Tools, repository};
use crate::load::{Endpoint, Rest};
use crate::loaders::beside;
use crate::note;
use crate::peer::{Certificate, Peer, Place, finish};
use crate::process::{Launch, Running, free_port};
use crate::reload;
use crate::rounds::{self, Bench, Contender, READY};
use crate::works::{Kind, Work, named};
use site::Site;
use tool::Toolchain;

/// Works that this program loads by itself, with the seconds of each phase.
const WORKS: &[(&str, f64)] = &[
    ("h1-128", 1.5),
    ("h1-64k", 0.3),
    ("h1-1m", 0.2),
    ("post-4k", 0.5),
    ("post-64k", 0.3),
    ("static", 0.7),
    ("tls", 1.0),
    ("handshake", 0.5),
    ("routes-10k", 0.5),
    ("gateway", 1.0),
    ("websocket", 0.5),
    ("access-log", 0.5),
    ("up", 0.3),
    ("reload-10k", 2.0),
];
/// The work that the gateway behind the site's is set up for: HTTP/2 over TLS.
const INNER: &str = "h2";
/// How long a load of some two seconds may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tells `bench/profile/rustc` to put counters in, and where a process writes them when it ends.
const INTO: &str = "RINGWAY_PROFILE_INTO";

/// Makes it; what was made.
pub(crate) fn make() -> Result<String, String> {
    let toolchain = Toolchain::find()?;
    let started = Instant::now();
    let folder = install::folder().join("profile");
    let counts = folder.join("counts");
    for old in [&counts, &folder.join("run")] {
        fs::remove_dir_all(old).ok();
    }
    fs::create_dir_all(&counts).map_err(|error| format!("{}: {error}", counts.display()))?;
    note("building ringway with counters in it, and ringway-load without");
    let tools = Tools {
        ringway: Some(build("ringway", "release", &folder.join("built"), Some(&counts))?),
        ringway_load: Some(build("ringway-load", "measure", &install::target(), None)?),
        folder: folder.clone(),
        ..Tools::default()
    };
    let built_s = started.elapsed().as_secs();
    host::pin(LOAD_CORE)?;
    host::raise_descriptors();
    let path = repository().join("bench/profile").join(format!("{}.profdata", toolchain.name));
    let mut lessons = Lessons { tools, folder, counts, toolchain, learnt: Vec::new(), meter: Meter::new() };
    for (name, seconds) in WORKS {
        let work = named(name).into_iter().next().ok_or_else(|| format!("there is no work {name}"))?;
        lessons.work(work, *seconds).map_err(|error| format!("{name}: {error}"))?;
    }
    lessons.site()?;
    let text = lessons.folder.join("run/profile.txt");
    lessons.toolchain.merge_small(&lessons.learnt, &path, &text)?;
    let kib = fs::metadata(&path).map_or(0, |metadata| metadata.len() >> 10);
    let run_s = started.elapsed().as_secs() - built_s;
    Ok(format!("{}: {kib} KiB; {built_s} s of building, {run_s} s of running", path.display()))
}

/// Builds one of our programs; with counters that go to a folder, where one is named.
fn build(package: &str, profile: &str, target: &Path, counts: Option<&Path>) -> Result<PathBuf, String> {
    let manifest = repository().join("Cargo.toml").display().to_string();
    let folder = target.display().to_string();
    let what = ["build", "--profile", profile, "--locked", "--quiet", "--package", package];
    let whence = ["--manifest-path", &manifest, "--target-dir", &folder];
    // Named here too: somebody's environment may name another one.
    let wrapper = repository().join("bench/profile/rustc").display().to_string();
    let mut launch = Launch::new("cargo", &[&what[..], &whence].concat()).with("RUSTC_WRAPPER", &wrapper);
    if let Some(counts) = counts {
        launch = launch.with(INTO, &counts.display().to_string());
    }
    finish(&launch)?;
    Ok(target.join(profile).join(package))
}

/// What is trained, and what it has learnt so far.
struct Lessons {
    tools: Tools,
    folder: PathBuf,
    /// Where processes with counters write.
    counts: PathBuf,
    toolchain: Toolchain,
    /// One file of sums for each lesson.
    learnt: Vec<PathBuf>,
    meter: Meter,
}

impl Lessons {
    /// One round of a work of `cargo bench-peers`.
    fn work(&mut self, work: &Work, seconds: f64) -> Result<(), String> {
        note(&format!("training: {}", work.title));
        let mut endpoint = Endpoint::new().map_err(|error| error.to_string())?;
        let folder = self.empty(work.name)?;
        let mut contender = self.contender(work, folder, &mut endpoint)?;
        let bench = Bench { work, meter: &self.meter, seconds, asked_seconds: Some(seconds), loader: None };
        match work.kind {
            Kind::Reload => reload::round(&bench, &contender, &mut endpoint, 0),
            _ => rounds::round(&bench, &mut contender, &mut endpoint, 0),
        }?;
        self.collect(work.name)
    }

    /// A gateway with a little of everything, another one behind it, and what is sent to both.
    fn site(&mut self) -> Result<(), String> {
        let mut endpoint = Endpoint::new().map_err(|error| error.to_string())?;
        let work = named(INNER).into_iter().next().ok_or_else(|| format!("there is no work {INNER}"))?;
        let folder = self.empty("inner")?;
        let inner = self.contender(work, folder, &mut endpoint)?;
        let mut behind = Running::start(&inner.setup.launch, PROXY_CORE, None, &inner.folder)?;
        behind.wait_for_port(inner.port, READY)?;
        let port = endpoint.port().map_err(|error| error.to_string())?;
        let site = Site::new(self.empty("site")?, port, inner.port)?;
        let launch = site.set_up(&self.tools, work)?;
        let mut gateway = Running::start(&launch, PROXY_CORE, None, &site.folder)?;
        gateway.wait_for_port(site.plain, READY)?;
        let load = self.tools.ringway_load.clone().unwrap_or_default();
        for line in site.loads() {
            note(&format!("training: ringway-load {}", line.join(" ")));
            let launch = Launch { program: load.clone(), arguments: line, environment: Vec::new() };
            beside(&mut endpoint, Rest::Sleep, None, || {
                Running::start(&launch, LOAD_CORE, None, &site.folder)?.finish(PATIENCE)
            })?;
        }
        drop((gateway, behind));
        self.collect("site")
    }

    fn empty(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join("run").join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    /// `ringway` set up for a work; control has compiled its definitions.
    fn contender(&self, work: &Work, folder: PathBuf, endpoint: &mut Endpoint) -> Result<Contender, String> {
        let certificate = Certificate::new(&folder)?;
        let port = free_port()?;
        let endpoint = endpoint.port().map_err(|error| error.to_string())?;
        let tools = &self.tools;
        let place = Place { folder: &folder, port, endpoint, work, tools, certificate: &certificate };
        let setup = Peer::Ringway.set_up(&place)?;
        Ok(Contender { name: Peer::Ringway.name(), folder, port, setup, sixty: None, most: 0.0 })
    }

    /// Adds up what the processes of a lesson counted; all of them have ended.
    fn collect(&mut self, name: &str) -> Result<(), String> {
        let entries = fs::read_dir(&self.counts).map_err(|error| error.to_string())?;
        let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        if files.is_empty() {
            return Err(format!("{name}: no process counted anything: none was left to end by itself"));
        }
        let sum = self.folder.join(format!("run/{name}.profdata"));
        self.toolchain.merge(&files, &sum)?;
        self.learnt.push(sum);
        files.iter().try_for_each(|file| fs::remove_file(file).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests;
