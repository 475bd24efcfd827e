//! Where nodes are. One source a file.

pub mod dns;
