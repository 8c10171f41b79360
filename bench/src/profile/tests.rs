//! What stands before rustc changes release builds alone, and there is a profile for the toolchain that builds here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::install::repository;

const TOOLCHAIN: &str = "1.0.0-any-linux";
const DEV: &[&str] = &["--crate-name", "x", "-C", "embed-bitcode=no", "-C", "debuginfo=line-tables-only"];
const MEASURE: &[&str] = &["--crate-name", "x", "-C", "opt-level=3", "-C", "embed-bitcode=no"];
const LIBRARY: &[&str] = &["--crate-name", "x y", "-C", "opt-level=3", "-C", "linker-plugin-lto"];
const PROGRAM: &[&str] = &["--crate-name", "x", "-C", "opt-level=3", "-C", "lto=thin", "-o", "a b"];

/// A folder with the wrapper in it, whose rustc is `printf`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(wrapper(), folder.path().join("rustc")).unwrap();
        Self(folder)
    }

    fn profile(&self) -> PathBuf {
        self.0.path().join(format!("{TOOLCHAIN}.profdata"))
    }

    /// The arguments that rustc gets for these, in a toolchain, and with counters to go to where a place is named.
    fn arguments(&self, arguments: &[&str], toolchain: Option<&str>, counts: Option<&str>) -> Vec<String> {
        // Read by the shell and not executed: a file just written may still be open in a child of another test.
        let mut command = Command::new("bash");
        command.arg(self.0.path().join("rustc")).args(["printf", "%s\\n"]).args(arguments);
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove(super::INTO);
        command.envs(toolchain.map(|name| ("RUSTUP_TOOLCHAIN", name)));
        command.envs(counts.map(|folder| (super::INTO, folder)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

fn wrapper() -> PathBuf {
    repository().join("bench/profile/rustc")
}

#[test]
fn release_builds_alone_use_the_profile() {
    let folder = Folder::new();
    fs::write(folder.profile(), "").unwrap();
    for arguments in [DEV, MEASURE, &["-vV"]] {
        assert_eq!(folder.arguments(arguments, Some(TOOLCHAIN), None), arguments);
        assert_eq!(folder.arguments(arguments, Some(TOOLCHAIN), Some("/counts")), arguments);
    }
    for arguments in [LIBRARY, PROGRAM] {
        let got = folder.arguments(arguments, Some(TOOLCHAIN), None);
        let (same, added) = got.split_at(arguments.len());
        assert_eq!(same, arguments);
        let profile = format!("-Cprofile-use={}", folder.profile().display());
        assert_eq!(added.first(), Some(&profile));
    }
}

#[test]
fn without_a_profile_for_the_toolchain_nothing_is_added() {
    let folder = Folder::new();
    assert_eq!(folder.arguments(PROGRAM, Some(TOOLCHAIN), None), PROGRAM);
    fs::write(folder.profile(), "").unwrap();
    assert_eq!(folder.arguments(PROGRAM, Some("1.0.1-any-linux"), None), PROGRAM);
    assert_eq!(folder.arguments(PROGRAM, None, None), PROGRAM);
}

#[test]
fn counters_take_the_place_of_the_profile() {
    let folder = Folder::new();
    fs::write(folder.profile(), "").unwrap();
    let wanted = [PROGRAM, &["-Cprofile-generate=/counts"]].concat();
    assert_eq!(folder.arguments(PROGRAM, Some(TOOLCHAIN), Some("/counts")), wanted);
    assert_eq!(folder.arguments(PROGRAM, None, Some("/counts")), wanted);
}

#[test]
fn an_exit_code_is_passed_on() {
    let status = Command::new(wrapper()).args(["sh", "-c", "exit 101"]).status().unwrap();
    assert_eq!(status.code(), Some(101));
}

/// Cargo tells tests where programs are by names such as `CARGO_BIN_EXE_ringway-load`, which dash, for one, drops.
#[test]
fn variables_that_no_shell_could_name_are_passed_on() {
    let output = Command::new(wrapper()).arg("env").env("CARGO_BIN_EXE_a-b", "c").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().lines().any(|line| line == "CARGO_BIN_EXE_a-b=c"));
}

#[test]
fn cargo_is_told_of_it_and_only_the_release_profile_has_what_it_goes_by() {
    let mode = fs::metadata(wrapper()).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "cargo could not run it");
    let text = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    assert!(text(".cargo/config.toml").contains("\nrustc-wrapper = \"bench/profile/rustc\"\n"));
    let manifest = text("Cargo.toml");
    let section = |name: &str| manifest.split(&format!("\n[{name}]\n")).nth(1).unwrap().split("\n[").next();
    assert!(section("profile.release").unwrap().contains("\nlto = \"thin\"\n"));
    assert!(section("profile.measure").unwrap().contains("\nlto = false\n"));
    assert_eq!(manifest.matches("\nlto = ").count(), 2);
    assert!(!text("fuzz/Cargo.toml").contains("lto"));
}

/// The profile is of one toolchain: with the next one, make it anew (`cargo bench-profile`).
#[test]
fn there_is_a_profile_for_the_toolchain_that_builds_here() {
    let toolchain = fs::read_to_string(repository().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    let name = format!("{}-x86_64-unknown-linux-gnu.profdata", channel.trim_matches('"'));
    let profile = fs::read(repository().join("bench/profile").join(&name)).unwrap();
    // LLVM's indexed form begins so, whatever its version.
    assert_eq!(profile.get(..8), Some(&[0xff, b'l', b'p', b'r', b'o', b'f', b'i', 0x81][..]), "{name}");
    assert!(profile.len() < 1 << 20, "{name} has {} bytes", profile.len());
    let others = fs::read_dir(Path::new(&wrapper()).parent().unwrap()).unwrap().flatten();
    let others = others.filter(|entry| entry.path().extension().is_some_and(|end| end == "profdata"));
    assert_eq!(others.count(), 1, "one of another toolchain is of no use to anybody");
}
