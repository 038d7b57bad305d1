//! Experience pools.
