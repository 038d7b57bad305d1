//! The file as it is written: sections and keys, all optional.

use std::path::PathBuf;

use l4sllm_model::{EngineKind, Precision};
use serde::{Deserialize, Serialize};

/// Declares a section with the list of its keys, which unknown ones are
/// compared with.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(#[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)+
        }

        impl $name {
            pub const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];
        }
    };
}

section! {
    /// The whole file.
    File {
        sandbox: bool,
        device: Device,
        pipeline: Pipeline,
        engine: Engine,
        limits: Limits,
        status: Status,
        log: Log,
    }
}

section! {
    Device {
        path: PathBuf,
        socket: PathBuf,
        on_missing: OnMissing,
        on_gone: OnGone,
        retry_min_ms: u64,
        retry_max_ms: u64,
        request_timeout_ms: u64,
        max_torn_reads: u32,
        wake: Wake,
    }
}

section! {
    Pipeline {
        interval: u32,
        mode: Mode,
        hold: u32,
        queue: Queue,
        ttl_ms: u64,
        max_instances: u32,
    }
}

section! {
    Engine {
        policy: PathBuf,
        engine: EngineKind,
        device: String,
        precision: Precision,
        seed: u64,
        script: Vec<ScriptStep>,
    }
}

section! {
    /// One `[[engine.script]]`.
    ScriptStep {
        at_ms: u64,
        action: Action,
        target: f64,
        threshold: f64,
        coupling: f64,
        gain: f64,
    }
}

section! {
    Limits {
        ceiling_ms: u64,
        max_ttl_ms: u64,
        watchdog_ms: u64,
        max_hold: u32,
        drop_share: f64,
        factor_min: f64,
        factor_max: f64,
    }
}

section! {
    Status {
        socket: PathBuf,
        mode: String,
    }
}

section! {
    Log {
        level: Level,
        format: Format,
    }
}

macro_rules! choice {
    ($name:ident { $($variant:ident),+ }) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub(super) enum $name { $($variant),+ }
    };
}

choice! { OnMissing { Exit, Wait } }
choice! { OnGone { Exit, Reconnect } }
choice! { Wake { Early, Interval } }
choice! { Mode { Once, Hold } }
choice! { Queue { Same, Any } }
choice! { Action { Enqueue, Drop, Mark } }
choice! { Level { Error, Warn, Info, Debug, Trace } }
choice! { Format { Text, Json } }

/// The keys of the section at `path`; `None` where there is no such section.
pub(super) fn keys(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        "" => File::KEYS,
        "device" => Device::KEYS,
        "pipeline" => Pipeline::KEYS,
        "engine" => Engine::KEYS,
        "engine.script" => ScriptStep::KEYS,
        "limits" => Limits::KEYS,
        "status" => Status::KEYS,
        "log" => Log::KEYS,
        _ => return None,
    })
}
