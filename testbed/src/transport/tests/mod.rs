//! Compares senders with their RFCs and with theory.

mod acknowledgements;
mod bbr;
mod ecn;
mod probe;
mod recovery;
mod response;
mod startup;
