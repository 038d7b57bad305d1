//! The client of a server, shared by the engines of all scheduler instances.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use l4sllm_model::{EngineOptions, Policy, PolicyConfig, PolicyError};
use l4sllm_remote::client::{CONNECT, Client, ClientOptions};
use l4sllm_remote::tensors::Contract;

use super::board::RemoteCounters;
use super::engines::load;
use crate::config::RemoteConfig;
use crate::engine::{PolicyEngine, RemoteEngine};
use crate::error::Error;
use crate::files::Files;
use crate::status::{EngineStatus, RemoteStatus};

/// The default deadline for a policy on records, whose intervals have no fixed
/// length.
const DEADLINE: Duration = Duration::from_secs(1);

/// Options of the client for the model `policy`, if no other name is configured.
pub(crate) fn client_options(config: &RemoteConfig, policy: &str) -> ClientOptions {
    ClientOptions {
        url: config.url.clone(),
        model: config.model.clone().unwrap_or_else(|| policy.to_owned()),
        ca_file: config.ca_file.clone(),
        token_file: config.token_file.clone(),
        retry: config.retry,
        connect: CONNECT,
    }
}

/// A running client, and what its engines need.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) config: RemoteConfig,
    pub(super) client: Client,
    policy: Arc<PolicyConfig>,
    local: Option<Arc<Policy>>,
}

impl Remote {
    /// Loads the configuration of the policy and the local policy, and starts to
    /// connect.
    pub(super) fn start(config: &RemoteConfig, files: &Files) -> Result<Remote, Error> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Policy { path, source }
        };
        let policy = Policy::load_config_by(&config.policy, |file| files.read(file));
        let policy = Arc::new(policy.map_err(failed(&config.policy))?);
        let local = match &config.local_policy {
            None => None,
            Some(path) => {
                let local = load(path, &EngineOptions::default(), files).map_err(failed(path))?;
                if local.config().input != policy.input {
                    return Err(failed(path)(PolicyError::Config {
                        key: "input".to_owned(),
                        got: format!("{:?}", local.config().input),
                        want: format!("that of policy {}: {:?}", policy.name, policy.input),
                    }));
                }
                Some(local)
            }
        };
        let options = client_options(config, &policy.name);
        let contract = Contract::of(Arc::clone(&policy));
        Ok(Remote {
            config: config.clone(),
            client: Client::start(options, contract).map_err(Error::Runtime)?,
            policy,
            local,
        })
    }

    pub(super) fn period_ns(&self) -> Option<u64> {
        self.policy.period_ns()
    }

    /// The engine of an instance.
    pub(super) fn engine(&self, interval: NonZeroU32) -> RemoteEngine {
        let period = self.policy.period_ns().map(Duration::from_nanos);
        let deadline = self.config.deadline.or(period).unwrap_or(DEADLINE);
        let local = self.local.as_ref();
        let local =
            local.map(|local| PolicyEngine::new(Arc::clone(local), interval, self.config.seed));
        RemoteEngine::new(
            self.client.clone(),
            Arc::clone(&self.policy),
            interval.get() as usize,
            deadline,
            self.config.seed,
        )
        .with_local(local)
    }

    pub(super) fn status(&self) -> EngineStatus {
        let local = self.local.as_ref().map(|local| local.config().name.clone());
        let fallback = self.config.fallback.map(|preset| preset.name().to_owned());
        EngineStatus::Remote {
            name: self.policy.name.clone(),
            path: self.config.policy.clone(),
            url: self.config.url.clone(),
            model: self.client.options().model.clone(),
            local,
            fallback,
            period_ms: self.period_ns().map(|ns| ns / 1_000_000),
        }
    }

    pub(super) fn counters(&self) -> RemoteCounters {
        let client = self.client.clone();
        RemoteCounters::new(move || {
            let counters = client.counters();
            RemoteStatus {
                connected: client.is_connected(),
                requests: counters.requests,
                answered: counters.answered,
                late: counters.late,
                invalid: counters.invalid,
                failed: counters.failed,
                abandoned: counters.abandoned,
                waiting: counters.waiting,
                missed: counters.missed,
                unsent: counters.unsent,
                connects: counters.connects,
                refused: counters.refused,
            }
        })
    }
}
