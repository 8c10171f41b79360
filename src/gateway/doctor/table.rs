//! The closed table of checks: what is looked at, what is recommended, why, and what to type.

use super::host::Host;
use super::{Finding, cpu, kernel, memory, network};

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Kernel,
    Processors,
    Network,
    Memory,
}

impl Group {
    /// In the order in which they are printed.
    pub(super) const ALL: [Self; 4] = [Self::Kernel, Self::Processors, Self::Network, Self::Memory];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Processors => "processors",
            Self::Network => "network",
            Self::Memory => "memory",
        }
    }
}

/// One check.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) look: fn(&Host) -> Finding,
    pub(super) recommended: &'static str,
    pub(super) why: &'static str,
    pub(super) fix: &'static str,
}

const fn row(
    group: Group,
    name: &'static str,
    look: fn(&Host) -> Finding,
    [recommended, why, fix]: [&'static str; 3],
) -> Row {
    Row { name, group, look, recommended, why, fix }
}

/// All checks, group by group.
pub(super) const ROWS: &[Row] = &[
    row(
        Group::Kernel,
        "kernel_version",
        kernel::version,
        [
            "6.1 or later; 5.10 at the least",
            "The ring's flags that make io_uring cheaper than epoll came with 6.0, the best one with 6.1. Before 5.19 workers run on epoll; before 5.10 nothing is tested.",
            "install a newer kernel of your distribution, and reboot",
        ],
    ),
    row(
        Group::Kernel,
        "io_uring",
        kernel::ring,
        [
            "granted, with SINGLE_ISSUER and DEFER_TASKRUN",
            "A worker whose ring is refused runs on epoll, at 5 to 10 % more CPU a request. A ring is really made and used here, so seccomp counts too.",
            "sysctl -w kernel.io_uring_disabled=0",
        ],
    ),
    row(
        Group::Kernel,
        "clock_source",
        kernel::clock_source,
        [
            "tsc, read in user space",
            "Each request reads the clocks up to four times. A source that needs a system call, or a device, makes each reading 10 to 100 times dearer.",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        ],
    ),
    row(
        Group::Kernel,
        "time_kept",
        kernel::time_is_kept,
        [
            "synchronised (chrony, systemd-timesyncd, ntpd or ptp)",
            "Certificates, tokens and quotas are judged by the clock of this host, and records of many nodes are put in order by it.",
            "apt-get install chrony",
        ],
    ),
    row(
        Group::Processors,
        "cores",
        cpu::cores,
        [
            "all that are online, and two or more",
            "The gateway starts one worker for each core it may run on. Control and the helpers run beside them at idle priority, better on a core of their own.",
            "ringway gateway --cores 1,2,3   # leaves core 0 to control, helpers and interrupts",
        ],
    ),
    row(
        Group::Processors,
        "cpu_quota",
        cpu::quota,
        [
            "none: whole cores instead",
            "A quota stops all workers at once for the rest of each period, up to 100 ms, as soon as their sum is used up: it shows in p99 long before the CPU is busy.",
            "give whole cores: AllowedCPUs= in the unit, cpuset in the container, integer cpu requests = limits in Kubernetes",
        ],
    ),
    row(
        Group::Processors,
        "cpu_governor",
        cpu::governor,
        [
            "performance",
            "A worker rests between packets; a governor that follows the load keeps it at a low frequency and adds the time of each change.",
            "cpupower frequency-set -g performance",
        ],
    ),
    row(
        Group::Processors,
        "cpu_idle_states",
        cpu::idle_states,
        [
            "none that takes more than 50 µs to leave",
            "A core that sleeps deeply wakes late: at low rates each request pays for it, under load nobody does.",
            "cpupower idle-set -D 50",
        ],
    ),
    row(
        Group::Processors,
        "smt",
        cpu::siblings,
        [
            "one worker for each physical core",
            "Two workers on the threads of one core share its caches and units: together they carry 20 to 30 % more than one, each alone is slower.",
            "lscpu --extended=CPU,CORE   # then name one thread of each core: ringway gateway --cores 0,2,4",
        ],
    ),
    row(
        Group::Processors,
        "numa",
        cpu::memory_nodes,
        [
            "one node for each gateway",
            "A worker whose memory, or whose network card, is on another socket pays for each cache miss twice.",
            "numactl --cpunodebind=0 --membind=0 ringway gateway …   # one gateway for each node, on the node of its network card",
        ],
    ),
    row(
        Group::Processors,
        "stolen_time",
        cpu::stolen,
        [
            "less than 1 %",
            "Time that the hypervisor gave to others is missing in every percentile, and no setting in here brings it back.",
            "ask for dedicated cores, or for another machine",
        ],
    ),
    row(
        Group::Processors,
        "aes",
        cpu::cryptography,
        [
            "AES instructions",
            "With them AES-GCM protects several gigabytes a second and core; without, TLS and QUIC cost a multiple for each byte.",
            "let the hypervisor pass the processor's features on (CPU model host)",
        ],
    ),
    row(
        Group::Network,
        "local_ports",
        network::ports,
        [
            "10240 to 65535",
            "Each connection to one address and port of an upstream takes a local port, and keeps it for a minute after we closed it.",
            "sysctl -w net.ipv4.ip_local_port_range='10240 65535'",
        ],
    ),
    row(
        Group::Network,
        "listen_backlog",
        network::backlog,
        [
            "net.core.somaxconn of 4096 or more",
            "Connections that wait to be accepted, for each listener and worker. When it is full the kernel drops the caller's last packet, and the caller waits a second.",
            "sysctl -w net.core.somaxconn=4096",
        ],
    ),
    row(
        Group::Network,
        "syn_backlog",
        network::half_open,
        [
            "net.ipv4.tcp_max_syn_backlog of 4096 or more",
            "Connections whose handshake is under way. Beyond it the kernel answers with cookies, which lose some TCP options.",
            "sysctl -w net.ipv4.tcp_max_syn_backlog=8192",
        ],
    ),
    row(
        Group::Network,
        "syn_cookies",
        network::syn_cookies,
        [
            "net.ipv4.tcp_syncookies of 1",
            "Without them a flood of first packets shuts everybody out.",
            "sysctl -w net.ipv4.tcp_syncookies=1",
        ],
    ),
    row(
        Group::Network,
        "time_wait_reuse",
        network::reused_ports,
        [
            "net.ipv4.tcp_tw_reuse of 1",
            "Lets connections to upstreams take a port that is in TIME_WAIT, where timestamps show that it is safe: it matters where connections are many and short.",
            "sysctl -w net.ipv4.tcp_tw_reuse=1",
        ],
    ),
    row(
        Group::Network,
        "slow_start",
        network::slow_start,
        [
            "net.ipv4.tcp_slow_start_after_idle of 0",
            "A kept-alive connection that rested for some hundred milliseconds would begin with a small window again, and a large reply would take round trips more.",
            "sysctl -w net.ipv4.tcp_slow_start_after_idle=0",
        ],
    ),
    row(
        Group::Network,
        "receive_buffer",
        network::receive_buffer,
        [
            "net.core.rmem_max of 4194304 or more",
            "All QUIC connections of a worker share one socket: bursts that do not fit into its buffer are lost and sent again.",
            "sysctl -w net.core.rmem_max=8388608",
        ],
    ),
    row(
        Group::Network,
        "send_buffer",
        network::send_buffer,
        [
            "net.core.wmem_max of 4194304 or more",
            "As for receiving: a full buffer makes a worker wait before it may send to anybody over HTTP/3.",
            "sysctl -w net.core.wmem_max=8388608",
        ],
    ),
    row(
        Group::Network,
        "udp_segmentation",
        network::segmentation,
        [
            "granted (kernel 4.18)",
            "One system call hands over many QUIC packets; it is worth a seventh of the CPU of a download. sendmmsg is used instead where it is refused.",
            "install a newer kernel, or leave the sandbox that emulates this one",
        ],
    ),
    row(
        Group::Network,
        "udp_coalescing",
        network::coalescing,
        [
            "granted (kernel 5.0)",
            "One system call receives many QUIC packets; it is worth a twelfth of the CPU of an upload.",
            "install a newer kernel, or leave the sandbox that emulates this one",
        ],
    ),
    row(
        Group::Network,
        "udp_steering",
        network::steering,
        [
            "granted: classic BPF on a SO_REUSEPORT group",
            "A QUIC packet must reach the worker that holds its connection, from whatever address it comes: a program of five instructions reads the worker from the connection id.",
            "allow SO_ATTACH_REUSEPORT_CBPF; it needs no privilege, so a sandbox refuses it",
        ],
    ),
    row(
        Group::Network,
        "connection_tracking",
        network::tracking,
        [
            "off for the gateway's ports, or a table of 262144 and more",
            "A full table drops packets of everybody, and each packet is looked up in it.",
            "sysctl -w net.netfilter.nf_conntrack_max=1048576   # or a notrack rule for the ports",
        ],
    ),
    row(
        Group::Network,
        "receive_queues",
        network::queues,
        [
            "one for each worker, or RPS over all cores",
            "Packets of one queue are carried up the stack by one core: it is busy first, while the workers on the others wait.",
            "ethtool -L INTERFACE combined CORES",
        ],
    ),
    row(
        Group::Network,
        "interrupts",
        network::interrupts,
        [
            "each queue's on the core of its worker",
            "Interrupts that all land on one core make it the bottleneck of the machine, and the worker on it the slowest.",
            "for each queue: echo CORE > /proc/irq/NUMBER/smp_affinity_list",
        ],
    ),
    row(
        Group::Network,
        "irqbalance",
        network::balancing,
        [
            "not running, once interrupts are placed by hand",
            "It moves interrupts away from cores that are busy, which are the workers', and undoes what was placed.",
            "systemctl disable --now irqbalance",
        ],
    ),
    row(
        Group::Memory,
        "open_files",
        memory::descriptors,
        [
            "65536 or more; 1048576 on an edge",
            "A proxied connection takes two descriptors, an idle one takes one. When they run out, callers are closed at once, and counted in ringway_accept_descriptors_exhausted_total.",
            "LimitNOFILE=1048576 in the unit, ulimit -n 1048576 in a shell, --ulimit nofile=1048576 for a container",
        ],
    ),
    row(
        Group::Memory,
        "locked_memory",
        memory::locked_memory,
        [
            "1 MiB for each worker, on kernels before 5.12",
            "Those kernels count the memory of rings as locked; a ring that does not fit is refused, and the worker runs on epoll.",
            "LimitMEMLOCK=infinity in the unit, ulimit -l unlimited in a shell",
        ],
    ),
    row(
        Group::Memory,
        "transparent_huge_pages",
        memory::large_pages,
        [
            "madvise",
            "With always the allocator's idle memory comes in pages of 2 MiB that can hardly be given back, and the kernel stalls now and then to make them.",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ],
    ),
    row(
        Group::Memory,
        "huge_pages",
        memory::reserved_pages,
        [
            "none reserved for Ringway",
            "Ringway asks for none: what is reserved and free is missing for sockets and for the page cache.",
            "sysctl -w vm.nr_hugepages=0   # unless another program here needs them",
        ],
    ),
    row(
        Group::Memory,
        "swap",
        memory::swap,
        [
            "none, or a swappiness of 10 at most",
            "A worker that waits for a page from disk holds up every connection on its core.",
            "swapoff -a   # or: sysctl -w vm.swappiness=1",
        ],
    ),
    row(
        Group::Memory,
        "shared_memory",
        memory::shared_memory,
        [
            "tmpfs on /dev/shm with room for the records",
            "Records are written into files there, so that no request waits for a disk. A container's default of 64 MiB holds those of forty workers.",
            "mount -o remount,size=512m /dev/shm   # docker run --shm-size=512m",
        ],
    ),
];
