//! TLS at the HTTP door.
//!
//! Certificates are renewed while the controller runs, by programs that know nothing of it. So both files are compared by content
//! every few seconds, and the next connection gets what they say then. Files that do not belong together (a renewal half done) change
//! nothing: the pair before stays.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::TlsConfig;

/// From connecting to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon changed files are seen.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The door's certificate, as it is now.
#[derive(Clone)]
pub(super) struct Tls {
    files: Arc<TlsConfig>,
    now: Arc<RwLock<Pair>>,
}

#[derive(Clone)]
struct Pair {
    acceptor: TlsAcceptor,
    texts: Arc<Texts>,
}

/// What stands in both files.
#[derive(PartialEq)]
struct Texts {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// One cannot be read, or they do not belong together.
    pub(super) fn open(files: &TlsConfig) -> anyhow::Result<Self> {
        let pair = pair(read(files)?, files)?;
        Ok(Self { files: Arc::new(files.clone()), now: Arc::new(RwLock::new(pair)) })
    }

    /// The handshake, within its time.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let acceptor = self.now.read().unwrap_or_else(PoisonError::into_inner).acceptor.clone();
        tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await?
    }

    /// Keeps the certificate as its files are, until told to stop.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let mut wrong = false;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let renewed = self.renew();
            if let (Err(error), false) = (&renewed, wrong) {
                tracing::error!("the certificate before stays in use: {error:#}");
            }
            wrong = renewed.is_err();
        }
    }

    fn renew(&self) -> anyhow::Result<()> {
        let texts = read(&self.files)?;
        if *self.now.read().unwrap_or_else(PoisonError::into_inner).texts == texts {
            return Ok(());
        }
        let pair = pair(texts, &self.files)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = pair;
        tracing::info!("the door has another certificate now");
        Ok(())
    }
}

fn read(files: &TlsConfig) -> anyhow::Result<Texts> {
    let read =
        |key: &str, file: &PathBuf| std::fs::read(file).with_context(|| format!("tls.{key}: cannot read {}", file.display()));
    Ok(Texts { cert: read("cert_file", &files.cert_file)?, key: Zeroizing::new(read("key_file", &files.key_file)?) })
}

fn pair(texts: Texts, files: &TlsConfig) -> anyhow::Result<Pair> {
    let (cert, key) = (files.cert_file.display(), files.key_file.display());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&texts.cert)
        .collect::<Result<_, _>>()
        .with_context(|| format!("tls.cert_file: {cert} is not PEM"))?;
    if chain.is_empty() {
        bail!("tls.cert_file: {cert} holds no certificate");
    }
    let private = PrivateKeyDer::from_pem_slice(&texts.key).with_context(|| format!("tls.key_file: {key} holds no private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("tls: the key in {key} does not belong to the certificate in {cert}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Pair { acceptor: TlsAcceptor::from(Arc::new(config)), texts: Arc::new(texts) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// A certificate of its own for `localhost`; both files.
    fn make(folder: &Path, name: &str) -> TlsConfig {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        TlsConfig { cert_file: cert, key_file: key }
    }

    /// What a client that trusts only `cert` is answered.
    async fn asked(address: std::net::SocketAddr, cert: &Path) -> Result<String, reqwest::Error> {
        crate::tls::install_crypto_provider();
        let trusted = reqwest::Certificate::from_pem(&std::fs::read(cert).unwrap()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).resolve("localhost", address).build().unwrap();
        client.get(format!("https://localhost:{}/", address.port())).send().await?.text().await
    }

    #[tokio::test]
    async fn the_door_speaks_tls_and_takes_a_renewed_certificate_but_no_half_one() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (make(folder.path(), "first"), make(folder.path(), "second"));
        let used = TlsConfig { cert_file: folder.path().join("cert"), key_file: folder.path().join("key") };
        let copy = |from: &Path, to: &Path| std::fs::copy(from, to).map(drop).unwrap();
        copy(&first.cert_file, &used.cert_file);
        copy(&first.key_file, &used.key_file);
        let tls = Tls::open(&used).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/", axum::routing::get(|| async { "here" }));
        let entry = super::super::serve::Entry { tls: Some(tls.clone()), ..Default::default() };
        let bounds = super::super::serve::Bounds::default();
        tokio::spawn(super::super::serve::serve(listener, router, entry, bounds, CancellationToken::new()));
        assert_eq!(asked(address, &first.cert_file).await.unwrap(), "here");

        copy(&second.cert_file, &used.cert_file);
        assert!(format!("{:#}", tls.renew().unwrap_err()).contains("does not belong"));
        assert_eq!(asked(address, &first.cert_file).await.unwrap(), "here");

        copy(&second.key_file, &used.key_file);
        tls.renew().unwrap();
        assert_eq!(asked(address, &second.cert_file).await.unwrap(), "here");
        assert!(asked(address, &first.cert_file).await.is_err());
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = make(folder.path(), "good");
        let refused = |cert: &Path, key: &Path| {
            let files = TlsConfig { cert_file: cert.to_owned(), key_file: key.to_owned() };
            format!("{:#}", Tls::open(&files).err().unwrap())
        };
        let missing = folder.path().join("missing");
        assert!(refused(&missing, &good.key_file).contains("tls.cert_file: cannot read"));
        assert!(refused(&good.cert_file, &missing).contains("tls.key_file: cannot read"));
        assert!(refused(&good.key_file, &good.key_file).contains("holds no certificate"));
        assert!(refused(&good.cert_file, &good.cert_file).contains("holds no private key"));
    }
}
