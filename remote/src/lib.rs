//! Inference over the network: a policy's decisions through the Open Inference
//! Protocol, version 2, over gRPC.
//!
//! ```text
//! daemon: window ─▶ client ─ ModelInfer ─▶ server ─▶ batch ─▶ policy
//!                          ◀─ outputs ───
//! ```
//!
//! [`tensors`] has the names and shapes of both directions. The [`client`] keeps one
//! connection for all scheduler instances and never blocks its caller. The [`server`]
//! serves one policy and batches the requests of several routers; the client also works
//! with other servers of the protocol, such as Triton and MLServer.

pub mod client;
pub mod load;
pub mod server;
pub mod tensors;

/// Messages and services, generated from `proto/inference.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod proto {
    tonic::include_proto!("inference");
}
