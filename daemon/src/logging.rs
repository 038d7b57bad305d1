//! Log lines to standard error: text or one JSON object each.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogConfig;

/// Changes the level of a running log.
#[derive(Clone)]
pub struct LogControl(reload::Handle<LevelFilter, Registry>);

impl LogControl {
    /// Starts the process's log.
    pub fn start(config: LogConfig) -> LogControl {
        let (level, control) = reload::Layer::new(LevelFilter::from_level(config.level));
        let registry = tracing_subscriber::registry().with(level);
        if config.json {
            registry
                .with(
                    fmt::layer()
                        .json()
                        .flatten_event(true)
                        .with_writer(std::io::stderr),
                )
                .init();
        } else {
            let colour = std::io::stderr().is_terminal();
            let layer = fmt::layer().with_ansi(colour).with_target(false);
            registry.with(layer.with_writer(std::io::stderr)).init();
        }
        LogControl(control)
    }

    /// Sets the level; the format stays.
    pub fn set(&self, config: LogConfig) {
        // Fails only when the log is gone, and then there is nobody to tell.
        let _ = self.0.reload(LevelFilter::from_level(config.level));
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl")
    }
}
