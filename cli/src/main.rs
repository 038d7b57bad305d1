//! The `l4sllm` command.
fn main() {}
