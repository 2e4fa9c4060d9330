//! Reading a request's body within bounds of size, of time, and of memory for all bodies together.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bounds, shared by all requests.
#[derive(Clone, Debug)]
pub(super) struct BodyLimits {
    body_bytes_max: usize,
    timeout: Duration,
    /// One permit a KiB.
    budget: Arc<Semaphore>,
}

/// A body in memory; its share of the budget is free again when it is dropped.
#[derive(Debug)]
pub(super) struct Buffered {
    bytes: Vec<u8>,
    shares: Vec<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyError {
    /// Larger than one body may be, perhaps only after decompression.
    TooLarge(usize),
    /// All bodies together are as large as they may be. Worth another try.
    NoRoom,
    /// It did not arrive in time.
    TimedOut,
    /// Its encoding is none that we know.
    Encoding,
    /// The client broke off, or the compressed stream is damaged.
    Damaged,
}

impl BodyLimits {
    pub(super) fn new(
        body_bytes_max: usize,
        buffered_bytes_max: usize,
        timeout: Duration,
    ) -> BodyLimits {
        let permits = (buffered_bytes_max / SHARE).clamp(1, Semaphore::MAX_PERMITS);
        BodyLimits { body_bytes_max, timeout, budget: Arc::new(Semaphore::new(permits)) }
    }

    /// Reads a body, and decompresses it when its headers say gzip.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Buffered, BodyError> {
        let compressed = match headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes()) {
            None | Some(b"" | b"identity") => false,
            Some(b"gzip" | b"x-gzip") => true,
            Some(_) => return Err(BodyError::Encoding),
        };
        let received = tokio::time::timeout(self.timeout, self.receive(headers, body))
            .await
            .map_err(|_| BodyError::TimedOut)??;
        if !compressed {
            return Ok(received);
        }
        let limits = self.clone();
        // Inflating 64 MiB takes a core for a few hundred milliseconds, in which connections would not be read.
        tokio::task::spawn_blocking(move || limits.inflate(&received.bytes))
            .await
            .map_err(|_| BodyError::Damaged)?
    }

    async fn receive(&self, headers: &HeaderMap, mut body: Body) -> Result<Buffered, BodyError> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|n| n > self.body_bytes_max as u64) {
            return Err(BodyError::TooLarge(self.body_bytes_max));
        }
        let mut received = Buffered { bytes: Vec::new(), shares: Vec::new() };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Damaged)?;
            if let Ok(data) = frame.into_data() {
                self.append(&mut received, &data)?;
            }
        }
        Ok(received)
    }

    fn inflate(&self, compressed: &[u8]) -> Result<Buffered, BodyError> {
        let mut inflated = Buffered { bytes: Vec::new(), shares: Vec::new() };
        let mut decoder = MultiGzDecoder::new(compressed);
        let mut chunk = vec![0; 64 << 10];
        loop {
            match decoder.read(&mut chunk) {
                Ok(0) => return Ok(inflated),
                Ok(n) => self.append(&mut inflated, &chunk[..n])?,
                Err(_) => return Err(BodyError::Damaged),
            }
        }
    }

    /// Adds bytes, after taking their share of the budget. Waiting for a share could wait for ever, since those
    /// who hold one may be waiting too.
    fn append(&self, body: &mut Buffered, bytes: &[u8]) -> Result<(), BodyError> {
        let len = body.bytes.len() + bytes.len();
        if len > self.body_bytes_max {
            return Err(BodyError::TooLarge(self.body_bytes_max));
        }
        if len > body.bytes.capacity() {
            // Shares follow the capacity, which doubles, so that they are taken a few times and not per chunk.
            let capacity = len.next_power_of_two().min(self.body_bytes_max).max(SHARE);
            let more = u32::try_from((capacity - body.bytes.capacity()).div_ceil(SHARE))
                .map_err(|_| BodyError::NoRoom)?;
            let share =
                self.budget.clone().try_acquire_many_owned(more).map_err(|_| BodyError::NoRoom)?;
            body.shares.push(share);
            body.bytes.reserve_exact(capacity - body.bytes.len());
        }
        body.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Buffered {
    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl BodyError {
    /// The status that tells a client what to do: 4xx means "not again like this", 503 "later".
    pub(super) fn status(self) -> StatusCode {
        match self {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
            BodyError::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::Damaged => StatusCode::BAD_REQUEST,
        }
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BodyError::TooLarge(max) => {
                write!(
                    f,
                    "the body is larger than {max} bytes (http.body_bytes_max); send smaller batches"
                )
            }
            BodyError::NoRoom => {
                f.write_str("too many request bodies at once (http.buffered_bytes_max); try again")
            }
            BodyError::TimedOut => f.write_str("the body did not arrive in time (http.timeout_ms)"),
            BodyError::Encoding => f.write_str("the content encoding must be identity or gzip"),
            BodyError::Damaged => f.write_str("the body broke off or is damaged"),
        }
    }
}

/// Bytes of one permit.
const SHARE: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn limits(body: usize, all: usize) -> BodyLimits {
        BodyLimits::new(body, all, Duration::from_secs(60))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn encoded(with: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, header::HeaderValue::from_static(with))])
    }

    #[tokio::test]
    async fn gzip_of_several_members_is_read_as_one_body() {
        let mut body = gzip(b"m v=1 1\n");
        body.extend(gzip(b"m v=2 2\n"));
        let read = limits(1 << 20, 1 << 20).read(&encoded("gzip"), Body::from(body)).await.unwrap();
        assert_eq!(read.as_slice(), b"m v=1 1\nm v=2 2\n");
    }

    #[tokio::test]
    async fn a_small_body_that_inflates_beyond_the_limit_is_too_large() {
        let body = gzip(&vec![b' '; 2 << 20]);
        assert!(body.len() < 64 << 10);
        let read = limits(1 << 20, 8 << 20).read(&encoded("gzip"), Body::from(body)).await;
        assert_eq!(read.unwrap_err(), BodyError::TooLarge(1 << 20));
    }

    #[tokio::test]
    async fn a_body_beyond_what_all_may_hold_is_asked_to_come_again_and_room_comes_back() {
        let limits = limits(1 << 20, 16 << 10);
        let first = limits.read(&HeaderMap::new(), Body::from(vec![b' '; 10 << 10])).await.unwrap();
        let second = limits.read(&HeaderMap::new(), Body::from(vec![b' '; 10 << 10])).await;
        assert_eq!(second.unwrap_err(), BodyError::NoRoom);
        drop(first);
        assert!(limits.read(&HeaderMap::new(), Body::from(vec![b' '; 10 << 10])).await.is_ok());
    }

    #[tokio::test]
    async fn unknown_encodings_and_damaged_streams_are_refused() {
        let limits = limits(1 << 20, 1 << 20);
        let unknown = limits.read(&encoded("br"), Body::from("x")).await;
        assert_eq!(unknown.unwrap_err(), BodyError::Encoding);
        let damaged = limits.read(&encoded("gzip"), Body::from("not gzip")).await;
        assert_eq!(damaged.unwrap_err(), BodyError::Damaged);
    }
}
