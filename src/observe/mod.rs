//! What the program tells of itself: one record for each request, as an access line and in the metrics.

pub mod access;
mod line;
pub mod metrics;
pub mod scale;
pub mod sources;
