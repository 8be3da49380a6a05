//! HTTP and HTTPS: timeouts, no redirects, and credentials with the first request.
//!
//! A redirect is an error, not a detour: it would name a server nobody configured, and the credential must not follow it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http::{Options, Transport, reqwest as backend};
use gix::protocol::transport::client::{Account, TransportWithoutIO as _};

use super::config::{Credentials, GitConfig};
use super::remote::Line;
use crate::converge::SourceError;
use crate::secret::Secret;
use crate::source::failed;

/// From the first packet to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without one byte from the server.
pub(crate) const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

/// A line to `url` that has not connected yet.
pub(crate) fn line(
    url: &str,
    GitConfig { credentials, ca_file, proxy, .. }: &GitConfig,
) -> Result<Line<Transport<backend::Remote>>, SourceError> {
    crate::tls::install_crypto_provider();
    let parsed = gix::url::parse(url.as_bytes()).map_err(|error| failed("source.url cannot be parsed", error.to_string()))?;
    let mut transport = Transport::<backend::Remote>::new(parsed, Protocol::V2, false);
    if let Credentials::Password { username, password_file } = credentials {
        let password = Secret::read(password_file).map_err(|error| failed("cannot log in to the remote repository", error))?;
        let account = Account { username: username.clone(), password: password.expose().to_owned(), oauth_refresh_token: None };
        transport.set_identity(account).map_err(|error| failed("cannot log in to the remote repository", error.to_string()))?;
    }
    let options: Options = Options {
        backend: Some(Arc::new(Mutex::new(client(roots(ca_file.as_deref())?, through(proxy.as_deref())?)))),
        ..Options::default()
    };
    Ok(Line { transport, options: Some(Box::new(options)), url: url.to_owned() })
}

fn client(roots: Vec<reqwest::Certificate>, proxy: Option<reqwest::Proxy>) -> backend::Options {
    backend::Options {
        configure_client: Some(Box::new(move |builder| {
            // The timeout of this client bounds each read, not the whole transfer.
            let builder = builder.connect_timeout(CONNECT_TIMEOUT).timeout(SILENCE_TIMEOUT).no_proxy();
            let builder = proxy.iter().cloned().fold(builder, reqwest::blocking::ClientBuilder::proxy);
            Ok(if roots.is_empty() { builder } else { builder.tls_certs_merge(roots.clone()) })
        })),
        // With a request hook installed, the transport refuses every redirect.
        configure_request: Some(Box::new(|_| Ok(()))),
    }
}

fn through(proxy: Option<&str>) -> Result<Option<reqwest::Proxy>, SourceError> {
    let proxy = proxy.map(reqwest::Proxy::all).transpose();
    proxy.map_err(|error| failed("source.proxy cannot be used", error))
}

fn roots(ca_file: Option<&Path>) -> Result<Vec<reqwest::Certificate>, SourceError> {
    let Some(file) = ca_file else {
        return Ok(Vec::new());
    };
    let doing = || format!("cannot use the certificates in {}; source.ca_file must hold them as PEM", file.display());
    let pem = std::fs::read(file).map_err(|error| failed(doing(), error))?;
    reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(doing(), error))
}
