//! What results are compared with: the portable kernels, and definitions in double precision.

use nnunet_nn::kernels::{Isa, isa, set_isa};

use super::definitions;
use super::host::Host;
use super::subject::{Blend, Conv, Loss, Network, Norm, Pass, Step, Subject, Timed, Up};
use crate::Error;

pub(super) struct Reference;

/// Runs `f` on the portable kernels.
fn portable<T>(f: impl FnOnce() -> T) -> T {
    let before = isa();
    set_isa(Isa::Portable);
    let result = f();
    set_isa(before);
    result
}

fn untimed(parts: Vec<Vec<f32>>) -> Result<(Vec<Vec<f32>>, std::time::Duration), Error> {
    Ok((parts, std::time::Duration::ZERO))
}

impl Subject for Reference {
    fn conv(&self, case: &Conv, pass: Pass) -> Timed {
        portable(|| Host.conv(case, pass))
    }

    fn up(&self, case: &Up, pass: Pass) -> Timed {
        portable(|| Host.up(case, pass))
    }

    fn norm(&self, case: &Norm) -> Timed {
        untimed(vec![definitions::norm(case)])
    }

    fn norm_backward(&self, case: &Norm) -> Timed {
        untimed(definitions::norm_backward(case))
    }

    fn loss(&self, case: &Loss) -> Timed {
        untimed(definitions::loss(case))
    }

    fn step(&self, case: &Step) -> Timed {
        untimed(definitions::step(case))
    }

    fn blend(&self, case: &Blend) -> Timed {
        untimed(definitions::blend(case))
    }

    fn predict(&self, case: &Network) -> Timed {
        portable(|| Host.predict(case))
    }

    fn train(&self, case: &Network) -> Timed {
        portable(|| Host.train(case))
    }
}
