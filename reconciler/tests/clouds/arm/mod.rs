//! A stand-in for the Resource Manager of Azure: real HTTP, and as strict about network security groups as what is published about
//! them: numbers, names, tags of versions, operations that take a while, pages, limits of rate and size.

mod rules;
mod state;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

pub(crate) use self::state::Arm;

pub(crate) const SUBSCRIPTION: &str = "11112222-3333-4444-5555-666677778888";
pub(crate) const GROUP: &str = "pci-cde-rg";

/// What becomes of a call.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    Pass,
    /// Refused, with a status, a code, and seconds to wait.
    Refuse(u16, &'static str, Option<u32>),
    /// It is done, and the answer says that nobody knows.
    DoneButLost,
}

pub(crate) type Judge = Box<dyn FnMut(&str, &str) -> Fate + Send>;

/// A server of its own; it ends with its runtime.
#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) arm: Arc<Mutex<Arm>>,
    pub(crate) url: String,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let arm = Arc::new(Mutex::new(Arm::new(&url)));
        let router = Router::new().fallback(answer).with_state(arm.clone());
        tokio::spawn(async move { axum::serve(Listener(listener), router).await });
        Self { arm, url }
    }

    /// The calls so far, `GET action path`, and forgets them.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.arm.lock().unwrap().calls)
    }

    /// Only those that change something.
    pub(crate) fn writes(&self) -> Vec<(String, String)> {
        self.calls().into_iter().filter(|(action, _)| !action.ends_with("/read")).collect()
    }

    pub(crate) fn judge(&self, judge: impl FnMut(&str, &str) -> Fate + Send + 'static) {
        self.arm.lock().unwrap().judge = Some(Box::new(judge));
    }

    pub(crate) fn pass(&self) {
        self.arm.lock().unwrap().judge = None;
    }
}

struct Listener(tokio::net::TcpListener);

impl axum::serve::Listener for Listener {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        self.0.accept().await.unwrap()
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn answer(State(arm): State<Arc<Mutex<Arm>>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let answered = arm.lock().unwrap().answer(method.as_str(), &uri, &headers, &body);
    let mut response = (StatusCode::from_u16(answered.status).unwrap(), axum::Json(answered.body)).into_response();
    for (name, value) in answered.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// What a call is answered with.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(&'static str, String)>,
}

pub(crate) fn ok(body: Value) -> Answered {
    Answered { status: 200, body, headers: Vec::new() }
}

pub(crate) fn no(status: u16, code: &str, message: &str) -> Answered {
    Answered { status, body: json!({"error": {"code": code, "message": message}}), headers: Vec::new() }
}
