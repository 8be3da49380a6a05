//! The door: checks in order of cost, and nothing is parsed before the signature holds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::sync::Semaphore;

use crate::blocklist::Blocklist;
use crate::body::{self, Held};
use crate::delivery::{Delivery, Inbox, Kept, Meaning, Refusal};
use crate::forge::Receiver;
use crate::proxies::Proxies;
use crate::refused::{Refused, answer};
use crate::sign::now;

/// Largest body unless it is set. A push of 2,000 commits stays below; GitHub itself cuts at 25 MiB.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What the receivers have to know.
#[derive(Clone)]
pub struct Settings {
    /// One for each forge; of two for the same forge the last counts.
    pub receivers: Vec<Receiver>,
    /// The full name of the followed ref, `refs/heads/main`.
    pub reference: String,
    /// Largest body; usually [`BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
}

/// What all receivers share: an address that is blocked is blocked for all, and memory is counted once.
struct Door {
    reference: String,
    body_bytes_max: usize,
    proxies: Proxies,
    inbox: Arc<dyn Inbox>,
    blocklist: Mutex<Blocklist>,
    memory: Semaphore,
}

struct Gate {
    door: Arc<Door>,
    receiver: Receiver,
}

/// Routes for the receivers that are configured: `POST /webhooks/github`, `/webhooks/gitlab`, `/webhooks/gitea`.
pub fn router(settings: Settings, inbox: Arc<dyn Inbox>) -> Router {
    let door = Arc::new(Door {
        reference: settings.reference,
        body_bytes_max: settings.body_bytes_max,
        proxies: settings.proxies,
        inbox,
        blocklist: Mutex::default(),
        memory: body::memory(),
    });
    let receivers: BTreeMap<_, _> = settings.receivers.into_iter().map(|receiver| (receiver.route(), receiver)).collect();
    receivers.into_iter().fold(Router::new(), |router, (route, receiver)| {
        let gate = Gate { door: Arc::clone(&door), receiver };
        router.merge(Router::new().route(route, post(receive)).with_state(Arc::new(gate)))
    })
}

async fn receive(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    gate.receive(request).await.unwrap_or_else(|refused| {
        gate.door.inbox.refused(gate.receiver.forge(), refused.why);
        refused.into_response()
    })
}

impl Gate {
    async fn receive(&self, request: Request) -> Result<Response, Refused> {
        let socket = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let (parts, body) = request.into_parts();
        expect_plain_json(&parts.headers)?;
        let door = &*self.door;
        let sender = socket.and_then(|socket| door.proxies.sender(socket, &parts.headers));
        door.expect_not_blocked(sender)?;
        body::expect_length_within(&parts.headers, door.body_bytes_max)?;
        let mut held = Held::nothing(&door.memory);
        let body = body::read(body, &mut held, door.body_bytes_max).await?;
        let line = self.receiver.verify(&parts.headers, &body, now()).map_err(|why| door.count(why, sender))?;
        let delivery = self.receiver.delivery(&parts.headers, &body, line, &door.reference);
        drop((body, held));
        door.keep(delivery).await
    }
}

impl Door {
    fn expect_not_blocked(&self, sender: Option<IpAddr>) -> Result<(), Refused> {
        let list = self.blocklist.lock().unwrap_or_else(PoisonError::into_inner);
        match sender.and_then(|sender| list.blocked(sender, Instant::now())) {
            Some(left) => Err(Refused::new(Refusal::Blocked).after(left.as_secs() + 1)),
            None => Ok(()),
        }
    }

    fn count(&self, why: Refusal, sender: Option<IpAddr>) -> Refused {
        if let Some(sender) = sender {
            self.blocklist.lock().unwrap_or_else(PoisonError::into_inner).count(sender, Instant::now());
        }
        Refused::new(why)
    }

    async fn keep(&self, delivery: Delivery) -> Result<Response, Refused> {
        let (result, reason) = match &delivery.meaning {
            Meaning::Pushed { .. } => ("accepted", "a push to our branch"),
            Meaning::Deleted => ("accepted", "our branch was deleted"),
            Meaning::Request { .. } => ("accepted", "a request for our branch"),
            Meaning::RequestClosed { .. } => ("accepted", "a request for our branch is over"),
            Meaning::Ping => ("ignored", "ping: the hook works"),
            Meaning::Ignored { reason } => ("ignored", *reason),
        };
        match self.inbox.keep(delivery).await {
            Ok(Kept::New) => Ok(answer(StatusCode::ACCEPTED, result, reason)),
            Ok(Kept::Duplicate) => Ok(answer(StatusCode::ACCEPTED, "duplicate", "this delivery is known")),
            Err(error) => {
                tracing::error!(%error, "a webhook delivery was not kept; the sender is asked to try again");
                Err(Refused::for_now(Refusal::NotKept))
            }
        }
    }
}

fn expect_plain_json(headers: &HeaderMap) -> Result<(), Refused> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none()).and_then(|value| value.to_str().ok());
    let essence = only.map(|value| value.split(';').next().unwrap_or_default().trim());
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(Refused::new(Refusal::Unsupported));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refused::new(Refusal::Unsupported).saying("Content-Encoding is not taken; send the body as it is"));
    }
    Ok(())
}
