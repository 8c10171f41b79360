//! The checks against hosts that are laid out for them.

use std::io;
use std::path::Path;

use ringway_rt::Driver;
use ringway_rt::probe::ProcessLimit;

use super::*;

fn answers() -> Answers {
    Answers {
        drivers: vec![(Driver::UringSingleIssuerDefer, None)],
        clock_reading_ns: 40,
        clock_is_synchronised: Ok(true),
        descriptors: Ok(ProcessLimit { soft: 1 << 20, hard: 1 << 20 }),
        locked_memory: Ok(ProcessLimit { soft: 8 << 20, hard: 8 << 20 }),
        udp_segmentation: Ok(()),
        udp_coalescing: Ok(()),
        steering: Ok(()),
        shared_memory_free_bytes: Ok(1 << 30),
        cores: 4,
    }
}

/// A host with these files alone.
fn host(files: &[(&str, &str)], answers: Answers) -> (tempfile::TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let host = Host::new(root.path(), answers);
    (root, host)
}

fn level_of(name: &str, files: &[(&str, &str)], answers: Answers) -> Level {
    let (_root, host) = host(files, answers);
    let row = ROWS.iter().find(|row| row.name == name).unwrap();
    (row.look)(&host).level
}

fn level(name: &str, path: &str, text: &str) -> Level {
    level_of(name, &[(path, text)], answers())
}

#[test]
fn the_reference_page_is_printed_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/doctor.md");
    let printed = print::reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == printed, "{} is out of date: run the tests with UPDATE_REFERENCE=1", path.display());
}

#[test]
fn names_are_unique_and_groups_stand_together() {
    let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ROWS.len());
    let mut groups: Vec<_> = ROWS.iter().map(|row| row.group.name()).collect();
    groups.dedup();
    assert_eq!(groups.len(), table::Group::ALL.len());
}

#[test]
fn a_host_that_says_nothing_has_no_problem() {
    let (_root, host) = host(&[], answers());
    let report = Report::of(&host);
    assert!(report.worst() < Level::Problem, "{}", report.text(Colour::Never));
}

#[test]
fn kernels_are_told_apart_by_number() {
    let at = |release| level("kernel_version", "proc/sys/kernel/osrelease", release);
    assert_eq!(at("6.18.44-x\n"), Level::Ok);
    assert_eq!(at("5.15.0-91-generic\n"), Level::Warning);
    assert_eq!(at("5.4.0\n"), Level::Problem);
    assert_eq!(at("10.0-rc1\n"), Level::Ok);
}

#[test]
fn who_refuses_the_ring_decides_what_to_type() {
    let refused = || Answers {
        drivers: vec![
            (Driver::UringSingleIssuerDefer, Some(io::ErrorKind::PermissionDenied.into())),
            (Driver::Epoll, None),
        ],
        ..answers()
    };
    let fix = |files: &[(&str, &str)]| {
        let (_root, host) = host(files, refused());
        let finding = kernel::ring(&host);
        assert_eq!(finding.level, Level::Warning);
        finding.fix.unwrap_or_default()
    };
    assert_eq!(fix(&[("proc/sys/kernel/io_uring_disabled", "2")]), "");
    assert!(fix(&[("proc/sys/kernel/io_uring_disabled", "1")]).contains("io_uring_group"));
    assert!(fix(&[("proc/sys/kernel/io_uring_disabled", "0")]).contains("seccomp"));
}

#[test]
fn a_quota_of_an_outer_group_is_found_in_both_hierarchies() {
    let unified = [
        ("proc/self/cgroup", "0::/kube/pod"),
        ("sys/fs/cgroup/kube/pod/cpu.max", "max 100000"),
        ("sys/fs/cgroup/kube/cpu.max", "150000 100000"),
    ];
    assert_eq!(level_of("cpu_quota", &unified, answers()), Level::Warning);
    let older = [
        ("proc/self/cgroup", "3:cpu,cpuacct:/box\n2:memory:/box"),
        ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000"),
        ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000"),
    ];
    assert_eq!(level_of("cpu_quota", &older, answers()), Level::Warning);
    let none = [("proc/self/cgroup", "3:cpu:/"), ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")];
    assert_eq!(level_of("cpu_quota", &none, answers()), Level::Ok);
}

#[test]
fn settings_are_graded() {
    assert_eq!(level("local_ports", "proc/sys/net/ipv4/ip_local_port_range", "10240\t65535"), Level::Ok);
    assert_eq!(level("local_ports", "proc/sys/net/ipv4/ip_local_port_range", "32768\t60999"), Level::Note);
    assert_eq!(level("local_ports", "proc/sys/net/ipv4/ip_local_port_range", "60000 60999"), Level::Warning);
    assert_eq!(level("listen_backlog", "proc/sys/net/core/somaxconn", "128"), Level::Warning);
    assert_eq!(level("listen_backlog", "proc/sys/net/core/somaxconn", "4096"), Level::Ok);
    let pages = "sys/kernel/mm/transparent_hugepage/enabled";
    assert_eq!(level("transparent_huge_pages", pages, "[always] madvise never"), Level::Warning);
    assert_eq!(level("transparent_huge_pages", pages, "always [madvise] never"), Level::Ok);
    let governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    assert_eq!(level("cpu_governor", governor, "powersave"), Level::Warning);
    let swaps = "Filename Type Size Used Priority\n/dev/sda2 partition 1000 500 -2";
    assert_eq!(level("swap", "proc/swaps", swaps), Level::Warning);
    assert_eq!(level("stolen_time", "proc/stat", "cpu 80 0 10 5 0 0 0 5 0 0"), Level::Warning);
}

#[test]
fn a_short_limit_of_descriptors_is_a_problem() {
    let with = |soft| {
        level_of(
            "open_files",
            &[],
            Answers { descriptors: Ok(ProcessLimit { soft, hard: soft }), ..answers() },
        )
    };
    assert_eq!(with(1024), Level::Problem);
    assert_eq!(with(20_000), Level::Warning);
    assert_eq!(with(u64::MAX), Level::Ok);
}

#[test]
fn records_need_room_in_shared_memory() {
    let mounts = ("proc/self/mounts", "tmpfs / tmpfs rw 0 0\nshm /dev/shm tmpfs rw 0 0");
    let with = |free: u64, files: &[(&str, &str)]| {
        level_of("shared_memory", files, Answers { shared_memory_free_bytes: Ok(free), ..answers() })
    };
    assert_eq!(with(512 << 20, &[mounts]), Level::Ok);
    assert_eq!(with(16 << 20, &[mounts]), Level::Problem);
    assert_eq!(with(512 << 20, &[("proc/self/mounts", "/dev/sda / ext4 rw 0 0")]), Level::Warning);
}

#[test]
fn one_queue_for_many_cores_is_noted_unless_packets_are_spread() {
    let queue = "sys/class/net/eth0/queues/rx-0/rps_cpus";
    let device = ("sys/class/net/eth0/device/vendor", "0x1af4");
    assert_eq!(level_of("receive_queues", &[device, (queue, "00")], answers()), Level::Note);
    assert_eq!(level_of("receive_queues", &[device, (queue, "f")], answers()), Level::Ok);
    assert_eq!(level_of("receive_queues", &[(queue, "00")], answers()), Level::Ok);
    assert_eq!([network::mask(4), network::mask(32), network::mask(40)], ["f", "ffffffff", "ff,ffffffff"]);
    assert_eq!(cpu::listed("0-3,8,10-11\n"), 7);
}

#[test]
fn colour_and_advice_are_printed_as_asked() {
    let (_root, host) = host(&[("proc/sys/net/core/somaxconn", "128")], answers());
    let report = Report::of(&host);
    let plain = report.text(Colour::Never);
    assert!(!plain.contains('\x1b'));
    assert!(plain.contains("type  sysctl -w net.core.somaxconn=4096"), "{plain}");
    assert!(report.text(Colour::Always).contains("\x1b[33mwarning\x1b[0m"));
    let value: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(value["checks"].as_array().unwrap().len(), ROWS.len());
    assert_eq!(value["worst"], report.worst().name());
}
