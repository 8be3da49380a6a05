//! When a request began: with its first byte, not when its headers were whole.
//!
//! A sender that drips, or one that waits behind a busy processor, waits from there. HTTP is read below us, so each connection is
//! listened to: the first byte since the last answer begins a request. What arrives together with the request before (pipelining, which
//! no forge does) is taken to begin when it is looked at.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Hooks;

/// When the request that a connection is at began, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Option<Instant>>>);

impl Heard {
    fn since(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now)
    }

    /// The next byte begins another request.
    pub(super) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Counts how long a request to a receiver took to be answered.
pub(super) async fn timed(
    State(hooks): State<Arc<Hooks>>,
    Extension(heard): Extension<Heard>,
    request: Request,
    next: Next,
) -> Response {
    let since = heard.since();
    let response = next.run(request).await;
    hooks.took(since.elapsed());
    response
}

/// A connection that is listened to.
pub(super) struct Listening<S> {
    stream: S,
    heard: Heard,
}

impl<S> Listening<S> {
    pub(super) fn new(stream: S, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.since();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::render;
    use crate::run::door::serve::{Bounds, Entry, serve};

    /// Ample for one byte to arrive.
    const PAUSE: Duration = Duration::from_millis(400);

    async fn ask(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut some = [0; 1024];
        let read = stream.read(&mut some).await.unwrap();
        assert!(some[..read].ends_with(b"here"), "{:?}", String::from_utf8_lossy(&some[..read]));
    }

    #[tokio::test]
    async fn a_request_begins_with_its_first_byte_and_not_with_the_answer_before() {
        let (hooks, began) = (Arc::new(Hooks::default()), Arc::new(Mutex::new(Vec::new())));
        hooks.expect("github");
        let noted = Arc::clone(&began);
        let here = move |Extension(heard): Extension<Heard>| {
            noted.lock().unwrap().push(heard.since());
            async { "here" }
        };
        let routes = Router::new().route("/", get(here)).route_layer(from_fn_with_state(Arc::clone(&hooks), timed));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, routes, Entry::default(), Bounds::default(), CancellationToken::new()));

        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"G").await.unwrap();
        tokio::time::sleep(PAUSE).await;
        let rest = Instant::now();
        ask(&mut stream, "ET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let second = Instant::now();
        ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;

        let began = began.lock().unwrap().clone();
        assert!(began.len() == 2 && began[0] < rest && began[1] >= second, "{began:?} {rest:?} {second:?}");
        let page = render(hooks.families()).unwrap();
        assert!(page.contains("pci_segment_webhook_seconds_count 2\n"), "{page}");
        let sum = page.lines().find_map(|line| line.strip_prefix("pci_segment_webhook_seconds_sum ")).unwrap();
        assert!(sum.parse::<f64>().unwrap() > 0.0, "{page}");
    }
}
