//! Checkpoint and restore, as far as CRIU has to be told of it: what is said to it ([`rpc`]), how it
//! is run ([`service`]), and what of a container is not in its images but the host's
//! ([`external`]).

mod pages;
mod protobuf;

pub(crate) mod external;
pub(crate) mod images;
pub(crate) mod mapped;
pub(crate) mod options;
pub(crate) mod rpc;
pub(crate) mod service;
