//! The node's UDP sockets: for each listener that speaks HTTP/3 a reuseport group, steered to the workers by connection id.
//!
//! The kernel counts the members of a group in the order of binding, and closing one moves another into its place. So
//! the node holds all of them as long as any worker serves a connection on one, and a listener that comes back
//! meanwhile gets the same sockets again: new ones would join the old group under wrong numbers.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mailbox::{Command, Mailbox};

/// How long an address in use is tried again.
const BIND_PATIENCE: Duration = Duration::from_millis(500);

/// The groups, by the address of their listener as configured.
#[derive(Default)]
pub(crate) struct Datagrams {
    groups: Mutex<BTreeMap<SocketAddr, Group>>,
}

/// One group: a socket for each worker, in order.
pub(crate) struct Group {
    sockets: Vec<UdpSocket>,
    /// The workers hold a clone as long as their endpoint lives.
    held: Arc<()>,
    /// The listener stands in the definitions.
    wanted: bool,
}

impl Group {
    /// Binds one to an address that nobody else receives on.
    ///
    /// # Errors
    /// Somebody does, or the address is none of this host's.
    pub(crate) fn bind(address: SocketAddr, workers: u16) -> std::io::Result<Self> {
        // A process of this user that is bound there with SO_REUSEPORT would silently share the packets.
        let until = Instant::now() + BIND_PATIENCE;
        loop {
            match ringway_rt::UdpSocket::bind(address) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => break drop(result?),
            }
        }
        let sockets = ringway_rt::UdpSocket::bind_group(address, workers)?;
        Ok(Self { sockets, held: Arc::new(()), wanted: true })
    }

    fn command(&self, configured: SocketAddr, worker: u16) -> std::io::Result<Command> {
        let socket = self.sockets.get(usize::from(worker)).ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        Ok(Command::ListenQuic { configured, socket: socket.try_clone()?, held: Arc::clone(&self.held) })
    }
}

impl Datagrams {
    fn groups(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a group for this listener is bound, be it that the listener was taken out of the definitions.
    pub(crate) fn has(&self, configured: SocketAddr) -> bool {
        self.groups().contains_key(&configured)
    }

    /// Enters new groups, and tells every worker which listeners are to be served from now on and which no longer.
    pub(crate) fn make_live(
        &self,
        fresh: Vec<(SocketAddr, Group)>,
        wanted: &[SocketAddr],
        mailboxes: &[Arc<Mailbox>],
    ) {
        let mut groups = self.groups();
        let mut begun: Vec<SocketAddr> = fresh.iter().map(|(configured, _)| *configured).collect();
        groups.extend(fresh);
        for (configured, group) in groups.iter_mut() {
            let wanted = wanted.contains(configured);
            let was = std::mem::replace(&mut group.wanted, wanted);
            if wanted && !was {
                begun.push(*configured);
            } else if was && !wanted {
                for mailbox in mailboxes {
                    mailbox.put(Command::StopQuic { configured: *configured });
                }
            }
        }
        for configured in begun {
            for (mailbox, worker) in mailboxes.iter().zip(0..) {
                let Some(group) = groups.get(&configured) else { continue };
                put(mailbox, configured, group.command(configured, worker));
            }
        }
    }

    /// Hands a worker its socket of each listener again: it was started anew, or has lost an endpoint.
    pub(crate) fn hand_over(&self, worker: u16, mailbox: &Mailbox) {
        for (configured, group) in self.groups().iter().filter(|(_, group)| group.wanted) {
            put(mailbox, *configured, group.command(*configured, worker));
        }
    }

    /// Ends receiving, when no worker serves a connection any more: a ring keeps its sockets longer than the process lives.
    pub(crate) fn leave(&self) {
        for socket in self.groups().values().flat_map(|group| &group.sockets) {
            if let Err(error) = ringway_rt::UdpSocket::leave(socket) {
                tracing::debug!(%error, "a UDP socket did not leave its group");
            }
        }
    }

    /// Closes the groups that no definition wants and no worker serves any more.
    pub(crate) fn sweep(&self) {
        self.groups().retain(|_, group| group.wanted || Arc::strong_count(&group.held) > 1);
    }
}

fn put(mailbox: &Mailbox, configured: SocketAddr, command: std::io::Result<Command>) {
    match command {
        Ok(command) => mailbox.put(command),
        Err(error) => tracing::error!(%configured, %error, "no descriptor for a UDP socket"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Command, Datagrams, Group, Mailbox, SocketAddr};

    fn mailboxes() -> Vec<Arc<Mailbox>> {
        (0..2).map(|_| Arc::new(Mailbox::new().unwrap())).collect()
    }

    fn told(mailbox: &Mailbox) -> Vec<&'static str> {
        let name = |command: &Command| match command {
            Command::ListenQuic { .. } => "listen",
            Command::StopQuic { .. } => "stop",
            _ => "other",
        };
        mailbox.take().iter().map(name).collect()
    }

    #[test]
    fn a_group_lives_as_long_as_a_worker_serves_it_and_comes_back_the_same() {
        let (datagrams, mailboxes) = (Datagrams::default(), mailboxes());
        let configured: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let group = Group::bind(configured, 2).unwrap();
        let address = group.sockets[0].local_addr().unwrap();
        datagrams.make_live(vec![(configured, group)], &[configured], &mailboxes);
        let serving = mailboxes[0].take();
        assert!(matches!(serving.as_slice(), [Command::ListenQuic { .. }]));
        assert_eq!(told(&mailboxes[1]), ["listen"]);

        datagrams.make_live(vec![], &[], &mailboxes);
        assert_eq!(told(&mailboxes[0]), ["stop"]);
        datagrams.sweep();
        assert!(datagrams.has(configured));
        assert!(Group::bind(address, 2).is_err(), "the address is in use");

        datagrams.make_live(vec![], &[configured], &mailboxes);
        match mailboxes[0].take().as_slice() {
            [Command::ListenQuic { socket, .. }] => assert_eq!(socket.local_addr().unwrap(), address),
            other => panic!("{other:?}"),
        }
        datagrams.make_live(vec![], &[], &mailboxes);
        drop((serving, mailboxes));
        datagrams.sweep();
        assert!(!datagrams.has(configured));
        Group::bind(address, 2).unwrap();
    }

    #[test]
    fn a_restarted_worker_gets_what_is_wanted() {
        let (datagrams, mailboxes) = (Datagrams::default(), mailboxes());
        let configured: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let group = Group::bind(configured, 2).unwrap();
        datagrams.make_live(vec![(configured, group)], &[configured], &mailboxes);
        mailboxes.iter().for_each(|mailbox| drop(mailbox.take()));
        datagrams.hand_over(1, &mailboxes[1]);
        assert_eq!((told(&mailboxes[0]), told(&mailboxes[1])), (vec![], vec!["listen"]));
    }
}
