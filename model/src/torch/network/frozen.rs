//! A network for inference.

use super::weights::View;
use super::{Batch, Network, backbone};
use crate::torch::TrainError;
use crate::{Outputs, PolicyConfig};

/// A network for inference only: tensors derived from weights are computed
/// once, and any number of threads may use it.
pub struct Frozen {
    network: Network,
    own: View,
    weights: backbone::Weights,
}

// SAFETY: libtorch allows concurrent reads of a tensor. The only public
// access is `outputs', which computes new tensors from these without a graph
// and writes to none of them; they are detached, so no gradient can be written
// either.
unsafe impl Sync for Frozen {}

impl Frozen {
    /// Freezes the current state of a network.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn new(network: Network) -> Result<Frozen, TrainError> {
        let (own, weights) = network.detached()?;
        Ok(Frozen {
            network,
            own,
            weights,
        })
    }

    /// The policy's configuration.
    pub fn config(&self) -> &PolicyConfig {
        self.network.config()
    }

    /// Device and computation options.
    pub fn options(&self) -> super::Options {
        self.network.options()
    }

    /// Head outputs after the last record or period of each window.
    ///
    /// # Errors
    /// libtorch failed.
    pub fn outputs(&self, batch: &Batch) -> Result<Vec<Outputs>, TrainError> {
        let _guard = tch::no_grad_guard();
        self.network.outputs_of(&self.own, &self.weights, batch)
    }
}

impl Network {
    /// Detached weights: outside and inside the backbone.
    pub(super) fn detached(&self) -> Result<(View, backbone::Weights), TrainError> {
        let _guard = tch::no_grad_guard();
        let (own, weights) = self.weights()?;
        let detached = weights
            .iter()
            .map(|(n, t)| Ok((n.to_owned(), t.f_detach()?)));
        let weights = detached.collect::<Result<_, TrainError>>()?;
        Ok((own.detached()?, weights))
    }
}
