//! The syslog anchor against servers of our own that read frames as RFC 6587 has them.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use pci_segment::anchor::syslog::{Server, SyslogAnchor};
use pci_segment::anchor::{Anchor as _, Ours, Parcel};
use pci_segment::audit::NoteSigner;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;

use crate::http_server::make_certificate;

fn parcel() -> Parcel {
    let signer = NoteSigner::new("us/pci-segment/1", SigningKey::from_bytes(&[7; 32])).unwrap();
    Parcel { note: signer.sign(2, [1; 32]), commit: None, rows: vec!["{\"seq\":0}".to_owned(), "{\"seq\":1}".to_owned()] }
}

/// Messages by their lengths.
async fn frames(mut stream: impl AsyncRead + Unpin) -> Vec<String> {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    let (mut rest, mut found) = (text.as_slice(), Vec::new());
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        let (message, after) = rest[space + 1..].split_at(length);
        found.push(String::from_utf8(message.to_vec()).unwrap());
        rest = after;
    }
    found
}

fn check(frames: &[String]) {
    assert_eq!(frames.len(), 3, "{frames:?}");
    for (frame, end) in frames.iter().zip([" row - {\"seq\":0}", " row - {\"seq\":1}"]) {
        assert!(frame.starts_with("<110>1 2") && frame.contains(" db-01 pci-segment ") && frame.ends_with(end), "{frame}");
    }
    let (_, note) = frames[2].split_once(" checkpoint - ").unwrap();
    let note: serde_json::Value = serde_json::from_str(note).unwrap();
    assert_eq!(note["note"], parcel().note.to_string());
}

fn anchor(port: u16, tls: bool, ca_file: Option<std::path::PathBuf>) -> SyslogAnchor {
    SyslogAnchor::new("syslog:test".to_owned(), Server { host: "127.0.0.1".to_owned(), port, tls, ca_file }, "db-01")
}

#[tokio::test]
async fn rows_and_the_note_arrive_over_tcp_and_a_server_that_is_gone_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { frames(listener.accept().await.unwrap().0).await });
    let anchor = anchor(port, false, None);
    let receipt = anchor.put(&parcel()).await.unwrap();
    assert!(receipt.0.starts_with("2 rows and a checkpoint sent"), "{receipt:?}");
    check(&server.await.unwrap());
    assert_eq!(anchor.latest(&Ours::default()).await, Ok(None), "it gives nothing back");
    let said = anchor.put(&parcel()).await.unwrap_err().to_string();
    assert!(said.starts_with("cannot send to syslog:test: "), "{said}");
}

#[tokio::test]
async fn rows_and_the_note_arrive_over_tls_only_at_a_server_whose_certificate_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    make_certificate(&cert, &key).await;
    pci_segment::tls::install_crypto_provider();
    let chain = CertificateDer::pem_file_iter(&cert).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&key).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            // The first client does not trust us and leaves.
            if let Ok(stream) = acceptor.accept(listener.accept().await.unwrap().0).await {
                return frames(stream).await;
            }
        }
    });
    let other = tempfile::tempdir().unwrap();
    make_certificate(&other.path().join("cert.pem"), &other.path().join("key.pem")).await;
    let said = anchor(port, true, Some(other.path().join("cert.pem"))).put(&parcel()).await.unwrap_err().to_string();
    assert!(said.contains("certificate"), "{said}");
    anchor(port, true, Some(cert)).put(&parcel()).await.unwrap();
    check(&server.await.unwrap());
}
