//! Adapters against `peft`.
