//! Receives webhooks of forges: verifies, then parses, then keeps, then answers.
//!
//! A delivery is a hint that it is time to look; it carries no facts. So nothing of it is used but the event, the full name of the
//! ref, the number of a request, and object ids to notice a mirror that lags behind. Not one byte of a body is parsed before its
//! signature holds, and 202 is answered only after the [`Inbox`] has made the delivery durable.
//!
//! The route names the forge. Headers never choose it: Gitea sends GitHub's headers as well, and a receiver that believed them would
//! check a signature that its configured secret was never meant for.
//!
//! The crate knows none of our other crates. Accepting connections, with limits on headers, idle time and number, is the caller's
//! part; serve the router with `into_make_service_with_connect_info::<SocketAddr>()`, or bad signatures are not counted by address.

mod blocklist;
mod body;
mod delivery;
mod event;
mod forge;
mod gitea;
mod github;
mod gitlab;
mod proxies;
mod receiver;
mod refused;
mod secrets;
mod sign;
mod signature;

pub use delivery::{Delivery, Inbox, InboxError, Keeping, Kept, Meaning, Refusal};
pub use forge::Receiver;
pub use proxies::{Proxies, ProxyError};
pub use receiver::{BODY_BYTES_MAX, Settings, router};
pub use secrets::{Secrets, SecretsError};
pub use sign::{Signed, push_body, sign};
