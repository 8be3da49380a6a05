//! A forge's API on loopback: it keeps what it was asked and answers as it is told.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use pci_segment::converge::{CommitStatus, StatusState};
use pci_segment::forge::ForgeConfig;

pub(crate) const TOKEN: &str = "canary-token-0123456789";

#[derive(Clone)]
pub(crate) struct Reply {
    code: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    pub(crate) after: Duration,
}

pub(crate) struct Seen {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Null where none came.
    pub(crate) body: serde_json::Value,
}

type Route = (&'static str, String, u16, String);

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) reply: Arc<Mutex<Reply>>,
    /// What a `GET` is answered, with 200.
    pub(crate) listed: Arc<Mutex<String>>,
    /// What goes before: method, path without its query, code and answer. The first that fits is taken.
    routes: Arc<Mutex<Vec<Route>>>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) api_url: String,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let reply = Reply { code: 201, headers: Vec::new(), body: r#"{"id":7}"#.into(), after: Duration::ZERO };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_url = format!("http://{}", listener.local_addr().unwrap());
        let (reply, listed) = (Arc::new(Mutex::new(reply)), Arc::new(Mutex::new("[]".to_owned())));
        let stand_in = Self { reply, listed, routes: Arc::default(), seen: Arc::default(), api_url };
        let app = Router::new().fallback(serve).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        stand_in
    }

    /// The settings that lead here; writes the token below `folder`.
    pub(crate) fn config(&self, repository: &str, folder: &Path) -> ForgeConfig {
        let token_file = folder.join("token");
        std::fs::write(&token_file, TOKEN).unwrap();
        let (api_url, branch) = (self.api_url.clone(), Some("main".to_owned()));
        ForgeConfig { api_url, repository: repository.into(), token_file, branch, calls: Arc::default() }
    }

    /// Answers so where method and path fit, from now on.
    pub(crate) fn route(&self, method: &'static str, path: &str, code: u16, answer: &serde_json::Value) {
        self.routes.lock().unwrap().insert(0, (method, path.to_owned(), code, answer.to_string()));
    }

    /// Methods and paths of everything asked since the last question.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap()).into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    pub(crate) fn answers(&self, code: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        *self.reply.lock().unwrap() = Reply { code, headers, body: body.into(), after: Duration::ZERO };
    }
}

async fn serve(State(stand_in): State<StandIn>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap_or_default();
    let whole = parts.uri.path_and_query().unwrap().to_string();
    stand_in.seen.lock().unwrap().push(Seen { method: parts.method.to_string(), path: whole, headers: parts.headers, body });
    let path = parts.uri.path();
    let routes = stand_in.routes.lock().unwrap().clone();
    if let Some((.., code, answer)) = routes.into_iter().find(|route| parts.method == route.0 && path == route.1) {
        return Response::builder().status(code).body(Body::from(answer)).unwrap();
    }
    if parts.method == Method::GET {
        return Response::new(Body::from(stand_in.listed.lock().unwrap().clone()));
    }
    let reply = stand_in.reply.lock().unwrap().clone();
    tokio::time::sleep(reply.after).await;
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.code).unwrap();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

pub(crate) fn status() -> CommitStatus {
    CommitStatus {
        commit: "a".repeat(40).parse().ok().unwrap(),
        state: StatusState::Failure,
        description: "3 violations: PCI-1.3.1-004 policies/db.yaml:20 (+2)".into(),
        link: None,
        context: "pci-segment/policy".into(),
        git_ref: Some("refs/heads/release/1".into()),
    }
}
