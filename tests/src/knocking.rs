//! A flow that must never pass, tried a thousand times a second: whoever opens the host for a moment lets some of it in.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pci_segment::sandbox::{DATABASE4, Sandbox};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);
/// Nothing is on its way between the namespaces for longer.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// Datagrams from a peer to the database host, until it ends.
#[derive(Debug)]
pub struct Knocking {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<usize>,
    ears: UdpSocket,
}

impl Knocking {
    /// Begins, from an IPv4 address of a peer.
    #[must_use]
    pub fn begin(sandbox: &Sandbox, from: IpAddr, port: u16) -> Self {
        let to = SocketAddr::new(DATABASE4, port);
        let ears = sandbox.host.run(move || UdpSocket::bind(to)).unwrap();
        ears.set_nonblocking(true).unwrap();
        let hand = sandbox.peers.run(move || UdpSocket::bind((from, 0))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            let mut sent = 0;
            while !told.load(Ordering::Relaxed) {
                sent += usize::from(hand.send_to(b"knock", to).is_ok());
                std::thread::sleep(PAUSE);
            }
            sent
        });
        Self { stop, sender, ears }
    }

    /// Ends; how many were sent, and how many arrived, as far as they are kept until they are counted.
    #[must_use]
    pub fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        std::thread::sleep(ON_ITS_WAY);
        let mut arrived = 0;
        while self.ears.recv(&mut [0; 16]).is_ok() {
            arrived += 1;
        }
        (sent, arrived)
    }
}
