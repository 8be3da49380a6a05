//! Reading a body within its limits: bytes, time, and the memory of all bodies together.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::delivery::Refusal;
use crate::refused::Refused;

/// Bodies in memory together.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// In which memory for bodies is counted: small, so that senders who dawdle over their first bytes hold next to nothing.
const UNIT: usize = 4096;
/// From the first byte of a body to its last.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The memory for all bodies.
pub(crate) fn memory() -> Semaphore {
    Semaphore::new(BODIES_BYTES_MAX / UNIT)
}

/// Turns away what announces itself as too large, before a byte of it is read.
pub(crate) fn expect_length_within(headers: &HeaderMap, most: usize) -> Result<(), Refused> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) { Err(Refused::new(Refusal::TooLarge)) } else { Ok(()) }
}

/// The share of the memory for bodies that one request holds. It grows with what has arrived, not with what was announced.
pub(crate) struct Held<'a> {
    memory: &'a Semaphore,
    permit: Option<SemaphorePermit<'a>>,
    units: usize,
}

impl<'a> Held<'a> {
    pub(crate) fn nothing(memory: &'a Semaphore) -> Self {
        Self { memory, permit: None, units: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Refused> {
        let wanted = bytes.div_ceil(UNIT);
        let more = u32::try_from(wanted.saturating_sub(self.units)).unwrap_or(u32::MAX);
        let permit = self.memory.try_acquire_many(more).map_err(|_| Refused::for_now(Refusal::Busy))?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        self.units = self.units.max(wanted);
        Ok(())
    }
}

/// The whole body, of at most `most` bytes.
pub(crate) async fn read(body: Body, held: &mut Held<'_>, most: usize) -> Result<Vec<u8>, Refused> {
    let reading = tokio::time::timeout(BODY_TIMEOUT, read_within(body, held, most));
    reading.await.unwrap_or_else(|_| Err(Refused::new(Refusal::TooSlow)))
}

async fn read_within(mut body: Body, held: &mut Held<'_>, most: usize) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refused::new(Refusal::TooSlow))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if bytes.len() + data.len() > most {
            return Err(Refused::new(Refusal::TooLarge));
        }
        held.grow(bytes.len() + data.len())?;
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}
