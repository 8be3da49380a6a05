//! Serving HTTP to whoever connects, within bounds: how long a request may take to say what it wants, how many may be connected, and
//! how long the end may take. Nobody who connects and then says nothing may keep others out or the controller from stopping.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::middleware::map_response_with_state;
use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use webhook::Proxies;

use super::heard::{Heard, Listening};
use super::places::{Place, Places};
use super::tls::Tls;

/// After an accept that failed for want of descriptors or memory; trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// From connecting, or from the last answer, to the end of the next request's headers.
    pub headers: Duration,
    /// What is under way when the controller stops may take this long to end.
    pub ending: Duration,
    /// Connections; for one more, the one that went without an answer for longest is closed.
    pub connections: usize,
    /// Connections from one address (of IPv6, one /64); more are closed at once.
    pub per_address: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { headers: Duration::from_secs(10), ending: Duration::from_secs(5), connections: 1024, per_address: 32 }
    }
}

/// How a door is entered.
#[derive(Clone, Default)]
pub(super) struct Entry {
    /// Plain without.
    pub tls: Option<Tls>,
    /// They speak for many, so they may have more than one address' share of connections.
    pub proxies: Proxies,
}

/// Serves until told to stop, and at most `bounds.ending` longer.
pub(super) async fn serve(listener: TcpListener, router: Router, entry: Entry, bounds: Bounds, stop: CancellationToken) {
    let places = Places::new(bounds.connections);
    let guests = Guests::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                say_panic(ended);
                continue;
            }
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, peer)) = accepted else { continue };
        let share = if entry.proxies.contain(peer.ip()) { bounds.connections } else { bounds.per_address };
        let Some(guest) = guests.enter(peer.ip(), share) else { continue };
        let place = Arc::new(places.take());
        let lost = place.lost();
        let heard = Heard::default();
        let router = router
            .clone()
            .layer(map_response_with_state((place, heard.clone()), answered))
            .layer(Extension(ConnectInfo(peer)))
            .layer(Extension(heard.clone()));
        let (stop, tls) = (stop.clone(), entry.tls.clone());
        connections.spawn(async move {
            let _held = guest;
            let talk = async {
                match tls {
                    None => converse(Listening::new(stream, heard), peer, router, bounds, stop).await,
                    Some(tls) => match stop.run_until_cancelled(tls.accept(stream)).await {
                        Some(Ok(stream)) => converse(Listening::new(stream, heard), peer, router, bounds, stop).await,
                        Some(Err(error)) => tracing::debug!(%peer, "no TLS with this client: {error}"),
                        None => {}
                    },
                }
            };
            if lost.run_until_cancelled(talk).await.is_none() {
                tracing::debug!(%peer, "made room for another connection");
            }
        });
    }
    drop(listener);
    // Whoever is still here after that is cut off when the set is dropped.
    let _ = tokio::time::timeout(bounds.ending, async { while connections.join_next().await.is_some() {} }).await;
}

fn say_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a connection ended badly: {error}");
    }
}

/// The next connection; none after a failure.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!("cannot take an HTTP connection: {error}");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn answered(State((place, heard)): State<(Arc<Place>, Heard)>, response: Response) -> Response {
    place.was_of_use();
    heard.answered();
    response
}

async fn converse<S>(stream: S, peer: SocketAddr, router: Router, bounds: Bounds, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.headers);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "an HTTP connection was cut: {error}");
    }
}

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Guests {
    /// A place for one more, unless the address has its share.
    fn enter(&self, address: IpAddr, most: usize) -> Option<Guest> {
        let address = neighbourhood(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Guest { guests: self.clone(), address })
    }
}

/// A place that is given back when dropped.
struct Guest {
    guests: Guests,
    address: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// One host commands a whole /64 of IPv6.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    /// Longer than a test may take.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);

    async fn open(bounds: Bounds) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        open_with(bounds, Entry::default()).await
    }

    async fn open_with(bounds: Bounds, entry: Entry) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() };
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, Router::new().route("/", get(seen)), entry, bounds, stop.clone()));
        (address, stop, served)
    }

    async fn say(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn hear(stream: &mut TcpStream) -> String {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        String::from_utf8_lossy(&heard).into_owned()
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    const HALF: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

    #[tokio::test]
    async fn a_request_is_answered_and_its_address_is_known() {
        let (address, _stop, _served) = open(Bounds::default()).await;
        let answer = hear(&mut say(address, WHOLE).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn headers_that_drip_are_cut_off() {
        let (address, _stop, _served) = open(Bounds { headers: SHORT, ..Bounds::default() }).await;
        let began = Instant::now();
        let (mut reading, mut writing) = say(address, HALF).await.into_split();
        let dripping = tokio::spawn(async move {
            while writing.write_all(b"X").await.is_ok() {
                tokio::time::sleep(SHORT / 4).await;
            }
        });
        let mut heard = Vec::new();
        let _ = reading.read_to_end(&mut heard).await;
        dripping.abort();
        assert!(began.elapsed() < LONG / 6, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_half_sent_request_does_not_hold_up_the_end() {
        let (address, stop, served) = open(Bounds { headers: LONG, ending: SHORT, ..Bounds::default() }).await;
        let _half = say(address, HALF).await;
        tokio::time::sleep(SHORT).await;
        stop.cancel();
        tokio::time::timeout(LONG / 6, served).await.expect("ends within its bound").unwrap();
    }

    #[tokio::test]
    async fn one_address_cannot_take_every_place() {
        let bounds = Bounds { headers: LONG, per_address: 1, ..Bounds::default() };
        let (address, _stop, _served) = open(bounds).await;
        let first = say(address, HALF).await;
        assert_eq!(hear(&mut say(address, WHOLE).await).await, "");
        drop(first);
        tokio::time::sleep(SHORT).await;
        assert!(hear(&mut say(address, WHOLE).await).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn a_trusted_proxy_has_no_share_of_its_own() {
        let bounds = Bounds { headers: LONG, per_address: 1, ..Bounds::default() };
        let proxies = Proxies::parse(&["127.0.0.1".to_owned()]).unwrap();
        let (address, _stop, _served) = open_with(bounds, Entry { proxies, ..Entry::default() }).await;
        let _first = say(address, HALF).await;
        assert!(hear(&mut say(address, WHOLE).await).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn w09_those_who_drip_make_room_for_those_who_have_something_to_say() {
        let (address, _stop, _served) = open(Bounds { headers: LONG, connections: 2, ..Bounds::default() }).await;
        let mut kept = say(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut dripping = say(address, HALF).await;
        let mut some = [0; 12];
        kept.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 200");
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        assert!(hear(&mut say(address, WHOLE).await).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(tokio::time::timeout(LONG / 6, hear(&mut dripping)).await.unwrap(), "", "it made room");
        kept.write_all(b"Connection: close\r\n\r\n").await.unwrap();
        assert!(hear(&mut kept).await.contains("HTTP/1.1 200 "), "who was answered lately stays");
    }

    #[test]
    fn a_neighbourhood_is_an_ipv4_address_or_a_64() {
        let of = |text: &str| neighbourhood(text.parse().unwrap()).to_string();
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
