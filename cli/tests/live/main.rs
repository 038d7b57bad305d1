//! `l4sllm live`: the page, its events and its switch.

#![allow(clippy::unwrap_used, reason = "tests")]

mod browser;
#[path = "../common/mod.rs"]
mod common;
mod harness;
mod http;
mod lab;
mod page;
