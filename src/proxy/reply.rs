//! Answers of our own. They are short, and tell nothing of the nodes or of this program.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{ErrorType, OrErr, Result};

/// When a client may try again after a 503, in seconds: about one round of health checks.
const RETRY_AFTER_SECONDS: &str = "5";

/// Answers with `status` and its name.
pub(super) async fn send(session: &mut Session, status: u16) -> Result<()> {
    let status = StatusCode::from_u16(status).or_err(ErrorType::InternalError, "not a status code")?;
    let text = format!("{} {}\n", status.as_str(), status.canonical_reason().unwrap_or("Error"));
    let mut header = ResponseHeader::build(status, Some(4))?;
    header.insert_header(CONTENT_TYPE, "text/plain")?;
    header.insert_header(CONTENT_LENGTH, text.len().to_string())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        header.insert_header(RETRY_AFTER, RETRY_AFTER_SECONDS)?;
    }
    let head = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(header), head).await?;
    if !head {
        session.write_response_body(Some(Bytes::from(text)), true).await?;
    }
    Ok(())
}
