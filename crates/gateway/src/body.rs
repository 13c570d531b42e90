//! Reading a request's body whole, within bounds.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use api::ErrorType;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use types::ByteCount;

use crate::patience::Patience;
use crate::{ApiError, Limits};

/// Memory set aside on the word of a Content-Length alone.
const TRUSTED_LENGTH: u64 = 1 << 20;

/// How long a body that is too large is read and thrown away, so that its sender gets to read the answer.
const DISCARD_FOR: Duration = Duration::from_secs(2);

/// The whole body, without a copy where it came in one piece.
pub(crate) async fn read(headers: &HeaderMap, mut body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.max_body.as_u64()) {
        // Whoever waits for "100 Continue" has sent nothing yet and shall not.
        if !headers.contains_key(EXPECT) {
            discard(body, limits.max_body).await;
        }
        return Err(too_large(limits.max_body));
    }
    let mut patience = Patience::new(limits.body_timeout);
    let Some(first) = next(&mut body, &mut patience).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() {
        return if first.len() as u64 > limits.max_body.as_u64() { Err(too_large(limits.max_body)) } else { Ok(first) };
    }
    let expected = announced.unwrap_or(0).min(TRUSTED_LENGTH);
    let mut whole = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0).max(first.len() * 2));
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        if (whole.len() + bytes.len()) as u64 > limits.max_body.as_u64() {
            discard(body, limits.max_body).await;
            return Err(too_large(limits.max_body));
        }
        whole.extend_from_slice(&bytes);
        piece = next(&mut body, &mut patience).await?;
    }
    Ok(whole.freeze())
}

/// The next piece of data, or `None` at the end.
async fn next(body: &mut Body, patience: &mut Patience) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
            Poll::Pending => patience.poll_over(cx).map(|()| None),
        });
        let Some(frame) = frame.await else {
            let message = format!("no more of the request's body came within {} s", patience.limit().as_secs_f64());
            let kind = ErrorType::InvalidRequestError;
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, kind, "timeout", message));
        };
        patience.renew();
        match frame {
            None => return Ok(None),
            // Trailers say nothing that routing needs.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(_)) => {
                return Err(ApiError::bad_request("incomplete_body", "the request's body broke off"));
            }
        }
    }
}

/// Reads on without keeping anything, as long as is decent: closing a connection with unread data resets it, and the
/// sender would see the reset instead of the answer.
async fn discard(mut body: Body, at_most: ByteCount) {
    let reading = async {
        let mut left = at_most.as_u64();
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_FOR, reading).await;
}

fn too_large(limit: ByteCount) -> ApiError {
    let message = format!("the request's body is larger than {limit} ({} bytes)", limit.as_u64());
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorType::InvalidRequestError, "body_too_large", message)
        .with_details(serde_json::json!({ "max_body_bytes": limit.as_u64() }))
}
