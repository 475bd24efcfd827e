//! What an answer's header tells of its node's load.

use std::time::Instant;

use log::debug;
use pingora::http::ResponseHeader;

use crate::member::Node;
use crate::pool::Pool;
use crate::report::orca;

/// Takes the report of load out of the header of a node's answer and keeps what it says; of several, the first that can
/// be read. Nothing happens where the pool does not ask for reports.
pub(super) fn take_report(response: &mut ResponseHeader, pool: &Pool, node: &Node, now: Instant) {
    if !pool.settings.load.orca {
        return;
    }
    let readable = |value: &http::HeaderValue| match orca::parse(value.as_bytes()) {
        Ok(load) => Some(load),
        Err(e) => {
            pool.metrics.load_report_unreadable();
            debug!("{}/{} {}: cannot read the report of load: {e}", node.cluster(), pool.role, node.id());
            None
        }
    };
    if let Some(load) = response.headers.get_all(orca::HEADER).iter().find_map(readable) {
        node.gauge(pool.endpoint).report(load.utilisation, pool.moment(now));
    }
    // All of them.
    response.remove_header(orca::HEADER);
}
