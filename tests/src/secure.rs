//! TLS from a client's side: an authority that vouches for this machine's loopback, and deliveries to those who have its word.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use webhook::Receiver;

use crate::delivery::request;

/// The authority's certificate, and a certificate and key for `localhost` and `127.0.0.1` below it.
#[derive(Debug)]
pub struct Authority {
    /// What clients trust.
    pub ca: PathBuf,
    /// What the server shows.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one; its files are in `folder` and begin with `name`.
    #[must_use]
    pub fn make(folder: &Path, name: &str) -> Self {
        let file = |ending: &str| folder.join(format!("{name}-{ending}"));
        let (ca, ca_key, cert, key) = (file("ca.pem"), file("ca.key"), file("cert.pem"), file("cert.key"));
        let make = |subject: &str, extensions: &[&str], by: Option<(&Path, &Path)>, out: (&Path, &Path)| {
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
            openssl.args(["-subj", subject]).arg("-out").arg(out.0).arg("-keyout").arg(out.1);
            for extension in extensions {
                openssl.args(["-addext", extension]);
            }
            if let Some((cert, key)) = by {
                openssl.arg("-CA").arg(cert).arg("-CAkey").arg(key);
            }
            let made = openssl.output().unwrap();
            assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        };
        make(&format!("/CN={name} authority"), &[], None, (&ca, &ca_key));
        let extensions = ["basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        make("/CN=localhost", &extensions, Some((&ca, &ca_key)), (&cert, &key));
        Self { ca, cert, key }
    }
}

/// Posts a signed delivery over TLS to a controller on this machine's own loopback, as a client that trusts only `ca`; the answer's
/// status code.
///
/// # Errors
/// Nobody listens, or there is no trust.
pub fn deliver_over_tls(port: u16, ca: &Path, receiver: &Receiver, event: &str, id: &str, body: &str) -> io::Result<u16> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(trusted).with_no_client_auth();
    let talk = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut secure = StreamOwned::new(talk, stream);
    secure.write_all(request(receiver, event, id, body).as_bytes())?;
    let mut answer = Vec::new();
    // Not every end says good-bye.
    let _ = secure.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let code = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    code.ok_or_else(|| io::Error::other(format!("not HTTP: {answer}")))
}
