//! One ICMP echo request, from a chosen address.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pci_segment::sandbox::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

/// How long an answer is waited for.
const SILENCE: Duration = Duration::from_millis(600);

/// Whether `to` answers a ping from `from`, an IPv4 address of this namespace.
#[must_use]
pub fn pings(space: &Namespace, from: IpAddr, to: IpAddr) -> bool {
    space.run(move || echo(from, to)).is_ok()
}

fn echo(from: IpAddr, to: IpAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    socket.set_read_timeout(Some(SILENCE))?;
    // Type 8, code 0, checksum, identifier, sequence: the two zero words leave the sum of the others.
    let identifier = u16::try_from(std::process::id() & 0x7FFF).unwrap();
    let sum = !(0x0800 + identifier);
    let mut request = vec![8, 0];
    request.extend_from_slice(&sum.to_be_bytes());
    request.extend_from_slice(&identifier.to_be_bytes());
    request.extend_from_slice(&[0, 0]);
    socket.send(&request)?;
    let until = Instant::now() + SILENCE;
    while Instant::now() < until {
        let mut answer = [0; 128];
        let length = (&socket).read(&mut answer)?;
        // Behind the IPv4 header without options: an echo reply is type 0.
        if length >= 28 && answer.get(20) == Some(&0) && answer.get(24..26) == Some(&identifier.to_be_bytes()[..]) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
