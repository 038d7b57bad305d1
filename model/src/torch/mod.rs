//! Policies through libtorch.
