//! Senders against their RFCs and against theory.

mod acknowledgements;
mod ecn;
mod probe;
mod recovery;
mod response;
mod startup;
