//! A forge's deliveries, and the plainest HTTP client there is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use pci_segment::sandbox::Sandbox;
use sha2::Sha256;
use webhook::Receiver;

/// The secret that deliveries in tests are signed with.
pub const WEBHOOK_SECRET: &str = "webhook-secret-canary-0123456789";

/// The body of GitHub's `push` for the branch `main`.
#[must_use]
pub fn push_body(after: &str) -> String {
    format!(r#"{{"ref":"refs/heads/main","before":"{}","after":"{after}","commits":[],"deleted":false}}"#, "0".repeat(40))
}

/// GitHub's signature of a body.
#[must_use]
pub fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Posts a `push` delivery to the controller's port on the host's loopback; the answer's status code.
#[must_use]
pub fn deliver(sandbox: &Sandbox, port: u16, id: &str, signature: &str, body: &str) -> u16 {
    let mut stream = sandbox.host.run(move || TcpStream::connect(("127.0.0.1", port))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!(
        "POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-GitHub-Event: push\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    status(&mut stream)
}

/// Posts a delivery of any forge, signed as `receiver` expects it; the answer's status code.
#[must_use]
pub fn deliver_as(sandbox: &Sandbox, port: u16, receiver: &Receiver, event: &str, id: &str, body: &str) -> u16 {
    let mut stream = sandbox.host.run(move || TcpStream::connect(("127.0.0.1", port))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request(receiver, event, id, body).as_bytes()).unwrap();
    status(&mut stream)
}

/// The same to a controller on this machine's own loopback; the answer's status code, or nothing where it could not be said or the
/// controller ended before its answer.
#[must_use]
pub fn deliver_here(port: u16, receiver: &Receiver, event: &str, id: &str, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request(receiver, event, id, body).as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split_whitespace().nth(1)?.parse().ok()
}

pub(crate) fn request(receiver: &Receiver, event: &str, id: &str, body: &str) -> String {
    let mut request = format!(
        "POST /webhooks/{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n",
        receiver.forge()
    );
    for (name, value) in &webhook::sign(receiver, event, id, body.as_bytes()).0 {
        request.push_str(&format!("{name}: {}\r\n", value.as_str()));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    request
}

/// The body of GitHub's `pull_request` for the branch `main`.
#[must_use]
pub fn request_body(action: &str, number: u64, head: &str) -> String {
    format!(
        r#"{{"action":"{action}","number":{number},"pull_request":{{"head":{{"ref":"change","sha":"{head}"}},"base":{{"ref":"main","sha":"{}"}}}}}}"#,
        "0".repeat(40)
    )
}

/// Asks the controller something; the answer's status code.
#[must_use]
pub fn get(sandbox: &Sandbox, port: u16, path: &str) -> Option<u16> {
    let mut stream = sandbox.host.run(move || TcpStream::connect(("127.0.0.1", port))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    Some(status(&mut stream))
}

/// Asks the controller for a page; its text, if the answer is 200.
#[must_use]
pub fn page(sandbox: &Sandbox, port: u16, path: &str) -> Option<String> {
    let (code, body) = answer(sandbox, port, path)?;
    (code == 200).then_some(body)
}

/// Asks the controller for a page; the code of its answer and the text.
#[must_use]
pub fn answer(sandbox: &Sandbox, port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = sandbox.host.run(move || TcpStream::connect(("127.0.0.1", port))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
}

fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("not HTTP: {answer}"))
}
