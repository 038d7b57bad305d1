//! `[engine.remote]`

use std::path::PathBuf;
use std::time::Duration;

use l4sllm_model::strict_toml::Section;

use super::{HOUR_MS, Result, whole, within};
use crate::config::{EngineConfig, RemoteConfig};
use crate::engine::Preset;

/// The server of a policy. Refused by builds without the engine.
pub(super) fn remote(
    section: &mut Section<'_>,
    policy: PathBuf,
    seed: u64,
    fallback: Option<Preset>,
) -> Result<EngineConfig> {
    if !cfg!(feature = "remote") {
        return Err(section.error(
            "engine",
            "engine \"remote\" is not in this build: build with --features remote",
        ));
    }
    let Some(field) = section.field("remote") else {
        return Err(section.error("remote", "missing: expected [engine.remote] with a url"));
    };
    let config = within(field.section()?, |section| {
        read(section, policy, seed, fallback)
    })?;
    #[cfg(feature = "remote")]
    crate::run::client_options(&config, "")
        .check()
        .map_err(|error| section.error("remote", error.to_string()))?;
    Ok(EngineConfig::Remote(Box::new(config)))
}

fn read(
    section: &mut Section<'_>,
    policy: PathBuf,
    seed: u64,
    fallback: Option<Preset>,
) -> Result<RemoteConfig> {
    let Some(url) = section.field("url") else {
        return Err(section.error("url", "missing: expected \"http://HOST:PORT\" or https"));
    };
    let url = url.text()?.to_owned();
    let mut text = |key| match section.field(key) {
        Some(field) => Ok(Some(field.text()?.to_owned())),
        None => Ok(None),
    };
    let model = text("model")?;
    let ca_file = text("ca_file")?.map(PathBuf::from);
    let token_file = text("token_file")?.map(PathBuf::from);
    let local_policy = text("local_policy")?.map(PathBuf::from);
    let deadline = match section.field("deadline_ms") {
        Some(field) => Some(Duration::from_millis(field.integer(1..=60_000)?)),
        None => None,
    };
    let least = whole(section, "retry_min_ms", 100, 1, HOUR_MS)?;
    let most = whole(section, "retry_max_ms", least.max(10_000), least, HOUR_MS)?;
    Ok(RemoteConfig {
        policy,
        seed,
        fallback,
        local_policy,
        url,
        model,
        deadline,
        ca_file,
        token_file,
        retry: (Duration::from_millis(least), Duration::from_millis(most)),
    })
}
