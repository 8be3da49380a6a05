//! What stands between a client and a server: it counts calls by their action, and answers some of them itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// No request of ours is longer.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// What becomes of a call.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// The server answers.
    Pass,
    /// It is never sent on; this is the answer.
    Answer(u16, String),
    /// The server does it, and the client never learns.
    Swallow,
}

/// Decides from an action and the whole body of a request.
type Judge = Box<dyn FnMut(&str, &str) -> Fate + Send>;

struct Shared {
    calls: Mutex<Vec<String>>,
    judge: Mutex<Judge>,
    behind: SocketAddr,
}

/// A proxy; it listens as long as the process lives.
#[derive(Clone)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Proxy {
    /// In front of a server.
    pub(crate) fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let judge: Judge = Box::new(|_, _| Fate::Pass);
        let shared = Arc::new(Shared { calls: Mutex::default(), judge: Mutex::new(judge), behind });
        let all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = all.clone();
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { shared, address }
    }

    /// Where an SDK finds it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this decides.
    pub(crate) fn judge(&self, judge: impl FnMut(&str, &str) -> Fate + Send + 'static) {
        *self.shared.judge.lock().unwrap() = Box::new(judge);
    }

    /// From now on everything passes.
    pub(crate) fn pass(&self) {
        self.judge(|_, _| Fate::Pass);
    }

    /// The actions since the last time this was asked, in their order.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.calls.lock().unwrap())
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let (head, body) = request(&mut client)?;
        let body_text = String::from_utf8_lossy(&body).into_owned();
        let action = action(&head, &body_text);
        self.calls.lock().unwrap().push(action.clone());
        let fate = (self.judge.lock().unwrap())(&action, &body_text);
        if let Fate::Answer(status, text) = &fate {
            let kind = if text.starts_with('{') { "application/x-amz-json-1.1" } else { "text/xml" };
            let length = text.len();
            return client.write_all(
                format!("HTTP/1.1 {status} As told\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
                    .as_bytes(),
            );
        }
        let mut server = TcpStream::connect(self.behind)?;
        server.write_all(once(&head).as_bytes())?;
        server.write_all(&body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        if matches!(fate, Fate::Pass) {
            client.write_all(&answer)?;
        }
        client.shutdown(Shutdown::Both)
    }
}

/// The head of a request and its body.
fn request(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let (mut read, mut some) = (Vec::new(), [0; 8192]);
    loop {
        let count = client.read(&mut some)?;
        read.extend_from_slice(&some[..count]);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(count > 0 && read.len() < REQUEST_BYTES_MAX, "a request that never begins");
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = read[end + 4..].to_vec();
        while body.len() < length {
            let count = client.read(&mut some)?;
            assert!(count > 0 && body.len() < REQUEST_BYTES_MAX, "a request that never ends");
            body.extend_from_slice(&some[..count]);
        }
        return Ok((head, body));
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// The same request, on a connection that ends with its answer.
fn once(head: &str) -> String {
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    format!("{}\r\nConnection: close\r\n\r\n", kept.collect::<Vec<_>>().join("\r\n"))
}

/// What is asked for, in any of the ways AWS has.
fn action(head: &str, body: &str) -> String {
    if let Some(target) = header(head, "x-amz-target") {
        return target.rsplit('.').next().unwrap().to_owned();
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    if let Some((_, operation)) = path.split_once("/operation/") {
        return operation.to_owned();
    }
    let query = body.split('&').find_map(|pair| pair.strip_prefix("Action="));
    query.unwrap_or("?").to_owned()
}
