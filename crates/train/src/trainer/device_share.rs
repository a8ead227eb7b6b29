//! Several devices that train one network: one rank for each.

use std::sync::Arc;

use nnunet_nn::NnError;
use nnunet_nn::cuda::{DeviceNetwork, Engine, Exchange, Kind, Share, View};

use crate::loader::BatchMaker;
use crate::{Cluster, TrainError};

/// Lets the device of this rank train with those of the others; nothing on its own.
///
/// Devices that exchange values by themselves (NCCL) do; where they cannot, the ranks exchange them through the host.
///
/// # Errors
/// A rank has left, or devices cannot find each other.
pub(super) fn join(
    network: &mut DeviceNetwork,
    cluster: &Cluster,
    maker: &BatchMaker,
) -> Result<(), TrainError> {
    if cluster.is_alone() {
        return Ok(());
    }
    let exchange = exchange(network.engine(), cluster)?;
    network.join(Share { whole: maker.batch_size, first: maker.share.start, exchange });
    Ok(())
}

fn exchange(engine: &Arc<dyn Engine>, cluster: &Cluster) -> Result<Arc<dyn Exchange>, TrainError> {
    let invitation = if cluster.is_first() { engine.invite()? } else { None };
    let bytes: Vec<f64> = invitation.unwrap_or_default().into_iter().map(f64::from).collect();
    let all = cluster.gather(&bytes)?;
    let first: Vec<u8> = all.into_iter().next().unwrap_or_default().iter().map(|&byte| byte as u8).collect();
    if first.is_empty() {
        return Ok(Arc::new(ThroughHost(cluster.clone())));
    }
    Ok(Arc::from(engine.join(&first, cluster.rank(), cluster.size())?))
}

/// Sums over the ranks by way of the host's memory.
#[derive(Debug)]
struct ThroughHost(Cluster);

impl Exchange for ThroughHost {
    fn sum(&self, values: View<'_>) -> Result<(), NnError> {
        let failed = |error: TrainError| NnError::Device {
            device: format!("{:?}", self.0),
            reason: error.to_string(),
        };
        match values.kind() {
            Kind::F64 => {
                let mut sums = values.to_f64()?;
                let all = self.0.gather(&sums).map_err(failed)?;
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = all.iter().filter_map(|rank| rank.get(i)).sum();
                }
                values.write_f64(&sums)
            }
            _ => {
                let mut sums = values.to_f32()?;
                self.0.sum(&mut sums).map_err(failed)?;
                values.write_f32(&sums)
            }
        }
    }
}
