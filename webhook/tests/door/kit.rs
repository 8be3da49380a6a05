//! A receiver on loopback, and an inbox in memory.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use webhook::{BODY_BYTES_MAX, Delivery, Inbox, InboxError, Keeping, Kept, Proxies, Receiver, Refusal, Secrets, Settings};

pub(crate) const SECRET: &str = "It's a Secret to Everybody";
pub(crate) const PUSH: &str = r#"{"ref":"refs/heads/main","repository":{"clone_url":"http://169.254.169.254/(a+)+$"}}"#;

/// Keeps deliveries in memory, by id.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) ids: Mutex<HashSet<String>>,
    pub(crate) kept: Mutex<Vec<Delivery>>,
    pub(crate) refused: Mutex<Vec<Refusal>>,
    pub(crate) broken: AtomicBool,
}

impl Inbox for Memory {
    fn keep(&self, delivery: Delivery) -> Keeping<'_> {
        Box::pin(async move {
            if self.broken.load(Ordering::Relaxed) {
                return Err(InboxError("disk full".into()));
            }
            if !self.ids.lock().unwrap().insert(delivery.id.clone()) {
                return Ok(Kept::Duplicate);
            }
            self.kept.lock().unwrap().push(delivery);
            Ok(Kept::New)
        })
    }

    fn refused(&self, _forge: &'static str, why: Refusal) {
        self.refused.lock().unwrap().push(why);
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) inbox: Arc<Memory>,
    pub(crate) secrets: Secrets,
    pub(crate) client: reqwest::Client,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Receiver::Github(Secrets::parse(SECRET).ok().unwrap()), &[]).await
    }

    pub(crate) async fn with(receiver: Receiver, proxies: &[&str]) -> Self {
        Self::following("refs/heads/main", receiver, proxies).await
    }

    pub(crate) async fn following(reference: &str, receiver: Receiver, proxies: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (inbox, secrets) = (Arc::new(Memory::default()), receiver.secrets().clone());
        let proxies: Vec<_> = proxies.iter().map(|text| (*text).to_owned()).collect();
        let settings = Settings {
            receivers: vec![receiver],
            reference: reference.into(),
            body_bytes_max: BODY_BYTES_MAX,
            proxies: Proxies::parse(&proxies).unwrap(),
        };
        let app = webhook::router(settings, inbox.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, inbox, secrets, client }
    }

    pub(crate) fn post(&self, event: &str, id: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client
            .post(format!("http://{}/webhooks/github", self.address))
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", id)
            .body(body)
    }

    pub(crate) async fn signed(&self, event: &str, id: &str, body: &str) -> (u16, String) {
        told(self.post(event, id, body.to_owned()).header("x-hub-signature-256", sign(SECRET, body.as_bytes()))).await
    }

    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (mut read, mut write) = stream.split();
        let mut answer = Vec::new();
        // The server may close before it has taken everything.
        let _ = tokio::join!(write.write_all(request), read.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn kept(&self) -> Vec<Delivery> {
        self.inbox.kept.lock().unwrap().clone()
    }
}

pub(crate) async fn told(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex(&hmac(secret.as_bytes(), &[body])))
}

/// HMAC-SHA256 of all parts.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
