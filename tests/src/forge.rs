//! A forge, as far as statuses and comments go: it takes what GitHub's documented calls take and remembers it.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, patch, post};
use serde_json::{Value, json};

/// One status that was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The commit.
    pub sha: String,
    /// `pending`, `success`, `failure`, `error`.
    pub state: String,
    /// Its text.
    pub description: String,
}

#[derive(Debug)]
struct Commented {
    id: u64,
    request: u64,
    body: String,
}

#[derive(Debug, Default)]
struct Memory {
    posted: Vec<Posted>,
    comments: Vec<Commented>,
    /// Of the last comment.
    id: u64,
    refuse: Option<u16>,
}

/// A forge on loopback. It lives as long as the test process.
#[derive(Debug, Clone)]
pub struct ForgeStandIn {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
}

impl ForgeStandIn {
    /// Serves on a listener, which may lie in a namespace.
    #[must_use]
    pub fn serve(listener: TcpListener) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new()
            .route("/repos/{owner}/{repo}/statuses/{sha}", post(take))
            .route("/repos/{owner}/{repo}/issues/{number}/comments", get(list).post(comment))
            .route("/repos/{owner}/{repo}/issues/comments/{id}", patch(edit))
            .route("/user", get(async || Json(json!({ "login": "pci-segment" }))))
            .with_state(memory.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(async move { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap() });
        });
        Self { address, memory }
    }

    /// The root of its API.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The configuration that reports to it; writes the token below `folder`.
    #[must_use]
    pub fn configuration(&self, folder: &std::path::Path) -> String {
        let token = folder.join("forge-token");
        std::fs::write(&token, "forge-token-canary\n").unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        format!(
            "status: {{ forge: github, api_url: \"{}\", repository: acme/policies, token_file: {} }}\n",
            self.api_url(),
            token.display()
        )
    }

    /// The states posted for a commit, in order.
    #[must_use]
    pub fn states(&self, sha: &str) -> Vec<String> {
        self.posted(sha).into_iter().map(|posted| posted.state).collect()
    }

    /// Everything posted for a commit, in order.
    #[must_use]
    pub fn posted(&self, sha: &str) -> Vec<Posted> {
        self.memory.lock().unwrap().posted.iter().filter(|p| p.sha == sha).cloned().collect()
    }

    /// The comments of a request, in order, as they read now.
    #[must_use]
    pub fn comments(&self, request: u64) -> Vec<String> {
        self.memory.lock().unwrap().comments.iter().filter(|c| c.request == request).map(|c| c.body.clone()).collect()
    }

    /// Somebody deletes the comments of a request.
    pub fn delete_comments(&self, request: u64) {
        self.memory.lock().unwrap().comments.retain(|comment| comment.request != request);
    }

    /// How many statuses were posted in all.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.memory.lock().unwrap().posted.len()
    }

    /// Answers with this code from now on; `None` takes everything again.
    pub fn refuse(&self, code: Option<u16>) {
        self.memory.lock().unwrap().refuse = code;
    }
}

type Answer = (StatusCode, Json<Value>);

impl Memory {
    fn refuses(&self, headers: &HeaderMap) -> Option<Answer> {
        let authorised = headers.get("authorization").and_then(|v| v.to_str().ok()) == Some("Bearer forge-token-canary");
        match self.refuse {
            Some(code) => Some((StatusCode::from_u16(code).unwrap(), Json(json!({ "message": "refused" })))),
            None if authorised => None,
            None => Some((StatusCode::UNAUTHORIZED, Json(json!({ "message": "Bad credentials" })))),
        }
    }
}

async fn list(State(memory): State<Arc<Mutex<Memory>>>, Path((_, _, number)): Path<(String, String, u64)>) -> Json<Value> {
    let memory = memory.lock().unwrap();
    let shown = |c: &Commented| json!({ "id": c.id, "body": c.body, "user": { "login": "pci-segment" } });
    Json(memory.comments.iter().filter(|c| c.request == number).map(shown).collect())
}

/// What a comment is to say.
fn text(body: &Value) -> String {
    body.get("body").and_then(Value::as_str).unwrap().to_owned()
}

async fn comment(
    State(memory): State<Arc<Mutex<Memory>>>,
    Path((_, _, request)): Path<(String, String, u64)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let mut memory = memory.lock().unwrap();
    if let Some(refused) = memory.refuses(&headers) {
        return refused;
    }
    memory.id += 1;
    let (id, body) = (memory.id, text(&body));
    memory.comments.push(Commented { id, request, body });
    (StatusCode::CREATED, Json(json!({ "id": id })))
}

async fn edit(
    State(memory): State<Arc<Mutex<Memory>>>,
    Path((_, _, id)): Path<(String, String, u64)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let mut memory = memory.lock().unwrap();
    if let Some(refused) = memory.refuses(&headers) {
        return refused;
    }
    let Some(comment) = memory.comments.iter_mut().find(|comment| comment.id == id) else {
        return (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" })));
    };
    comment.body = text(&body);
    (StatusCode::OK, Json(json!({ "id": id })))
}

async fn take(
    State(memory): State<Arc<Mutex<Memory>>>,
    Path((_, _, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut memory = memory.lock().unwrap();
    if let Some(refused) = memory.refuses(&headers) {
        return refused;
    }
    // As GitHub: 422 for an unknown state or a long description.
    let state = text("state");
    if !["pending", "success", "failure", "error"].contains(&state.as_str()) || text("description").chars().count() > 140 {
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "message": "Validation Failed" })));
    }
    memory.posted.push(Posted { sha, state, description: text("description") });
    (StatusCode::CREATED, Json(json!({ "id": memory.posted.len() })))
}
