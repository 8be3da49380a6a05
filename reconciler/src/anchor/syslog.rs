//! A log server that takes RFC 5424 messages, framed by their octet count (RFC 6587 §3.4.1), over TCP or TLS (RFC 5425): each audit row
//! as JSON, then the note. It gives nothing back, so it cannot refuse a start; what it has is for the people who read it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Anchor, AnchorError, Found, Ours, Parcel, Receipt};
use crate::audit::event::tidy;

/// From the first packet to the end of the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For all messages of one delivery.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to close after us.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Facility 13 (log audit), severity 6 (informational).
const PRIORITY: u32 = 13 * 8 + 6;

/// Where it is.
#[derive(Debug, Clone)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether to encrypt.
    pub tls: bool,
    /// Certificates it is known by; needed to encrypt.
    pub ca_file: Option<PathBuf>,
}

/// Notes and rows to a log server.
pub struct SyslogAnchor {
    name: String,
    server: Server,
    /// Name of this host in each message.
    host: String,
}

impl SyslogAnchor {
    /// An anchor at that server.
    #[must_use]
    pub fn new(name: String, server: Server, host: &str) -> Self {
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        Self { name, server, host: if host.is_empty() { "-".to_owned() } else { host } }
    }

    async fn deliver(&self, text: &[u8]) -> Result<(), String> {
        let Server { host, port, tls, ca_file } = &self.server;
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port)));
        let stream = connect.await.map_err(|_| "no answer within 10 s".to_owned())?.map_err(|error| error.to_string())?;
        if !tls {
            return send(stream, text).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no name for a certificate"))?;
        let connector = TlsConnector::from(Arc::new(client(ca_file.as_deref())?));
        let hello = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream));
        let stream = hello.await.map_err(|_| "no TLS handshake within 10 s".to_owned())?.map_err(|error| error.to_string())?;
        send(stream, text).await
    }
}

impl Anchor for SyslogAnchor {
    fn name(&self) -> &str {
        &self.name
    }

    fn takes_rows(&self) -> bool {
        true
    }

    async fn put(&self, parcel: &Parcel) -> Result<Receipt, AnchorError> {
        let at = Timestamp::now();
        let mut text = Vec::new();
        for row in &parcel.rows {
            text.extend_from_slice(&frame(&self.host, at, "row", row));
        }
        let note = serde_json::json!({ "note": parcel.note.to_string() }).to_string();
        text.extend_from_slice(&frame(&self.host, at, "checkpoint", &note));
        let failed = |why: String| AnchorError(format!("cannot send to {}: {why}", self.name));
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.deliver(&text)).await;
        sent.map_err(|_| failed("not within 60 s".to_owned()))?.map_err(failed)?;
        Ok(Receipt(format!("{} rows and a checkpoint sent at {at}", parcel.rows.len())))
    }

    async fn latest(&self, _: &Ours) -> Result<Option<Found>, AnchorError> {
        Ok(None)
    }
}

/// One message, with its length before it.
fn frame(host: &str, at: Timestamp, id: &str, message: &str) -> Vec<u8> {
    let at = at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let message = tidy(message, usize::MAX);
    let text = format!("<{PRIORITY}>1 {at} {host} pci-segment {} {id} - {message}", std::process::id());
    let mut framed = format!("{} ", text.len()).into_bytes();
    framed.extend_from_slice(text.as_bytes());
    framed
}

/// Sends everything, and waits until the server has seen the end: before that a connection that broke may have lost it.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &[u8]) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    stream.write_all(text).await.map_err(said)?;
    stream.flush().await.map_err(said)?;
    stream.shutdown().await.map_err(said)?;
    let mut rest = [0; 256];
    match tokio::time::timeout(CLOSE_TIMEOUT, stream.read(&mut rest)).await {
        // A server that stays silent and open has it, as far as this protocol can say.
        Ok(Ok(_)) | Err(_) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

fn client(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    crate::tls::install_crypto_provider();
    let Some(file) = ca_file else {
        return Err("tls:// needs audit.syslog_ca_file, the certificates the server is known by".to_owned());
    };
    let unusable = |error: &dyn std::fmt::Display| format!("cannot use the certificates in {}: {error}", file.display());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(&error))? {
        roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
    }
    Ok(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_before_it_and_no_line_in_it() {
        let at: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        let framed = String::from_utf8(frame("db-01", at, "row", "{\"a\":\"ä\"}\n")).unwrap();
        let (length, text) = framed.split_once(' ').unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), text.len());
        assert!(text.starts_with("<110>1 2026-01-01T00:00:00.500000Z db-01 pci-segment "), "{text}");
        assert!(text.ends_with(" row - {\"a\":\"ä\"}\u{fffd}"), "{text}");
    }
}
