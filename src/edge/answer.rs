//! For the servers of this program that answer by themselves: the admin listener and the stub node.

use std::sync::Arc;

use async_trait::async_trait;
use log::debug;
use pingora::Result;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

/// Idle time of a connection, in seconds.
const KEEPALIVE: u64 = 60;

/// Answers requests.
#[async_trait]
pub trait Answer: Send + Sync {
    /// Answers the request in `session`, whose header was read.
    async fn answer(&self, session: &mut ServerSession) -> Result<()>;
}

/// Makes a server of an [`Answer`].
#[derive(Debug)]
pub struct Answering<A>(pub A);

#[async_trait]
impl<A: Answer + 'static> HttpServerApp for Answering<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(e) => {
                debug!("not a request: {e}");
                // The client may be gone; then there is nobody to tell.
                let _ = session.respond_error(400).await;
                return None;
            }
        }
        let stopping = *shutdown.borrow();
        if stopping || session.get_keepalive().is_none() {
            session.set_keepalive(None);
        } else {
            session.set_keepalive(Some(KEEPALIVE));
        }
        if let Err(e) = self.0.answer(&mut session).await {
            debug!("{}: {e}", session.request_summary());
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        session.finish().await.ok().flatten().map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}
