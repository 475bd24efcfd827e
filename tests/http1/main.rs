//! HTTP/1 on the clients' side, byte by byte: what RFC 9112 (and RFC 9110) call malformed is refused and never reaches a
//! node, what they allow passes, and no limit is ever exceeded.

mod chunks;
mod fields;
mod limits;
mod malformed;
mod recorder;
mod stage;
mod start_line;
#[path = "../support/mod.rs"]
mod support;
mod valid;
