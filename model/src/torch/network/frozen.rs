//! A network that is not trained any more.

use super::weights::View;
use super::{Batch, Network, backbone};
use crate::torch::TrainError;
use crate::{Outputs, PolicyConfig};

/// A network for decisions alone: what is made of weights is made once, and any
/// number of threads may ask it.
pub struct Frozen {
    network: Network,
    own: View,
    weights: backbone::Weights,
}

// SAFETY: libtorch lets any number of threads read a tensor.  The only access
// from outside is `outputs', which computes new tensors of these without
// a graph and writes to none; they are detached, so that no gradient can.
unsafe impl Sync for Frozen {}

impl Frozen {
    /// Of a network as it is now.
    pub fn new(network: Network) -> Result<Frozen, TrainError> {
        let (own, weights) = network.detached()?;
        Ok(Frozen {
            network,
            own,
            weights,
        })
    }

    /// What the network computes.
    pub fn config(&self) -> &PolicyConfig {
        self.network.config()
    }

    /// Where and how it computes.
    pub fn options(&self) -> super::Options {
        self.network.options()
    }

    /// What the head says after the last record or period of each window.
    pub fn outputs(&self, batch: &Batch) -> Result<Vec<Outputs>, TrainError> {
        let _guard = tch::no_grad_guard();
        self.network.outputs_of(&self.own, &self.weights, batch)
    }
}

impl Network {
    /// The weights apart from any graph: outside of the backbone, and inside.
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
