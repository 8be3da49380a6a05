//! A Git server on loopback: `git http-backend` behind a small HTTP or HTTPS server, with faults to order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// `Authorization` for the user `git` with the password `right`.
const EXPECTED: &str = "Basic Z2l0OnJpZ2h0";

/// A running server.
#[derive(Clone)]
pub(crate) struct GitServer {
    pub(crate) address: SocketAddr,
    root: PathBuf,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

/// One request.
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
}

impl GitServer {
    /// Serves the repositories below `root` over HTTP.
    pub(crate) async fn http(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::at(listener.local_addr().unwrap(), root);
        let app = server.app();
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// Serves them over HTTPS with a certificate of its own, written to `cert.pem` in `files`.
    pub(crate) async fn https(root: &Path, files: &Path) -> Self {
        pci_segment::tls::install_crypto_provider();
        let (cert, key) = (files.join("cert.pem"), files.join("key.pem"));
        make_certificate(&cert, &key).await;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from_pem_file(cert).unwrap()], PrivateKeyDer::from_pem_file(key).unwrap())
            .unwrap();
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::at(inner.local_addr().unwrap(), root);
        let app = server.app();
        let listener = TlsListener { inner, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.line.clone()).collect()
    }

    fn at(address: SocketAddr, root: &Path) -> Self {
        Self { address, root: root.to_owned(), seen: Arc::default() }
    }

    fn app(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }
}

async fn serve(State(server): State<GitServer>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    server.seen.lock().unwrap().push(Seen { line, headers: request.headers().clone() });
    let path = request.uri().path().to_owned();
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    match first {
        "private" => {
            let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes().to_vec());
            if given.as_deref() != Some(EXPECTED.as_bytes()) {
                return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")]).into_response();
            }
            backend(&server.root, rest, request).await
        }
        "redirect" => {
            (StatusCode::FOUND, [(header::LOCATION, format!("http://localhost:{}/{rest}", server.address.port()))]).into_response()
        }
        "hop" => {
            let (to, rest) = rest.split_once('/').unwrap();
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, format!("https://{to}/{rest}"))]).into_response()
        }
        "cut" | "garbled" => {
            let answer = backend(&server.root, rest, request).await;
            let (parts, body) = answer.into_parts();
            let mut bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
            if let Some(pack) = bytes.windows(4).position(|window| window == b"PACK") {
                if first == "cut" { bytes.truncate(pack + 40) } else { bytes[pack + 30] ^= 0xff }
            }
            Response::from_parts(parts, Body::from(bytes))
        }
        "silent" => {
            tokio::time::sleep(Duration::from_secs(120)).await;
            StatusCode::OK.into_response()
        }
        // As any other repository, until somebody wants the object that the address names.
        "slow" | "fails" => {
            let (unwanted, rest) = rest.split_once('/').unwrap();
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            if String::from_utf8_lossy(&body).contains(&format!("want {unwanted}")) {
                if first == "fails" {
                    return StatusCode::INTERNAL_SERVER_ERROR.into_response();
                }
                tokio::time::sleep(Duration::from_secs(6)).await;
            }
            backend(&server.root, rest, Request::from_parts(parts, Body::from(body))).await
        }
        "html" => "<html>a web page</html>".into_response(),
        "status" => {
            let code = rest.split('/').next().unwrap().parse().unwrap();
            StatusCode::from_u16(code).unwrap().into_response()
        }
        _ => backend(&server.root, path.trim_start_matches('/'), request).await,
    }
}

/// Runs `git http-backend` as the CGI program it is.
async fn backend(root: &Path, path: &str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut response = Response::new(Body::from(output[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = StatusCode::from_u16(value[..3].parse().unwrap()).unwrap();
        } else {
            response.headers_mut().insert(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
    }
    response
}

pub(crate) async fn make_certificate(cert: &Path, key: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=loopback",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(cert)
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

struct TlsListener {
    inner: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.inner.accept().await else {
                continue;
            };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}
