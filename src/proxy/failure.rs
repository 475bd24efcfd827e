//! From an error of the framework to the status that the client gets and the reason that the log gives.

use pingora::{Error, ErrorSource, ErrorType};

/// How a failed request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// The status to answer with; 0 if there is nobody to answer.
    pub(super) status: u16,
    /// One word for logs and metrics.
    pub(super) reason: &'static str,
}

/// Tells 502, 503 and 504 apart.
///
/// - 503: no node could be asked; asking again later makes sense.
/// - 504: a node was asked and did not answer in time.
/// - 502: a node was asked and its answer was broken off or was no HTTP.
pub(super) fn classify(error: &Error) -> Failure {
    let failure = |status, reason| Failure { status, reason };
    match (error.esource(), error.etype()) {
        (_, ErrorType::HTTPStatus(status)) => failure(*status, "no_ready_node"),
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => failure(408, "client_too_slow"),
        (
            ErrorSource::Downstream,
            ErrorType::ReadError | ErrorType::WriteError | ErrorType::WriteTimedout | ErrorType::ConnectionClosed,
        ) => failure(0, "client_gone"),
        (ErrorSource::Downstream, _) => failure(400, "client_protocol_error"),
        (ErrorSource::Upstream, kind) if is_connect_error(kind) => failure(503, "connect_failed"),
        (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => failure(504, "node_too_slow"),
        (ErrorSource::Upstream, _) => failure(502, "node_answer_broken"),
        (ErrorSource::Internal | ErrorSource::Unset, _) => failure(500, "internal_error"),
    }
}

/// Whether the error is about this program rather than a client or a node.
pub(super) fn is_ours(error: &Error) -> bool {
    classify(error).status == 500
}

fn is_connect_error(kind: &ErrorType) -> bool {
    use ErrorType::{
        BindError, ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout, HandshakeError,
        InvalidCert, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout, TLSWantX509Lookup,
    };
    matches!(
        kind,
        BindError
            | ConnectError
            | ConnectNoRoute
            | ConnectProxyFailure
            | ConnectRefused
            | ConnectTimedout
            | HandshakeError
            | InvalidCert
            | SocketError
            | TLSHandshakeFailure
            | TLSHandshakeTimedout
            | TLSWantX509Lookup
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_status_and_a_reason() {
        let up = |kind| Error::new(kind).into_up();
        let down = |kind| Error::new(kind).into_down();
        for (error, status, reason) in [
            (up(ErrorType::ConnectRefused), 503, "connect_failed"),
            (up(ErrorType::ConnectTimedout), 503, "connect_failed"),
            (up(ErrorType::InvalidCert), 503, "connect_failed"),
            (up(ErrorType::ReadTimedout), 504, "node_too_slow"),
            (up(ErrorType::WriteTimedout), 504, "node_too_slow"),
            (up(ErrorType::ConnectionClosed), 502, "node_answer_broken"),
            (up(ErrorType::InvalidHTTPHeader), 502, "node_answer_broken"),
            (down(ErrorType::ConnectionClosed), 0, "client_gone"),
            (down(ErrorType::ReadTimedout), 408, "client_too_slow"),
            (down(ErrorType::InvalidHTTPHeader), 400, "client_protocol_error"),
            (Error::new(ErrorType::HTTPStatus(503)).into_in(), 503, "no_ready_node"),
            (Error::new(ErrorType::InternalError).into_in(), 500, "internal_error"),
        ] {
            assert_eq!(classify(&error), Failure { status, reason }, "{error}");
        }
    }
}
