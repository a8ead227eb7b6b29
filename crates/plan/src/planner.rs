//! Which planner decides, and its constants.

use std::str::FromStr;

use crate::{NetworkKind, PlanError};

/// The planners that nnU-Net ships for its U-Nets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Planner {
    /// `ExperimentPlanner`: `PlainConvUNet` for 8 GB.
    #[default]
    Default,
    /// `ResEncUNetPlanner`: residual encoder for 8 GB, batches of at most a twentieth of the data set.
    ResEnc,
    /// `nnUNetPlannerResEncM`: residual encoder for 8 GB.
    ResEncM,
    /// `nnUNetPlannerResEncL`: residual encoder for 24 GB.
    ResEncL,
    /// `nnUNetPlannerResEncXL`: residual encoder for 40 GB.
    ResEncXl,
    /// `nnUNetPlannerResEncL_noResampling`: as L, images keep their spacing.
    NoResampling,
    /// `nnUNetPlanner_torchres`: as the default, with linear resampling in 32 bits.
    TorchRes,
    /// `nnUNetPlannerResEncL_torchres`: as L, with linear resampling in 32 bits.
    ResEncLTorchRes,
    /// `nnUNetPlannerResEncL_torchres_sepz`: the same, an anisotropic axis resampled on its own.
    ResEncLTorchResSepZ,
}

/// What the planners differ in.
struct Constants {
    planner: Planner,
    /// Name on the command line.
    name: &'static str,
    class: &'static str,
    plans: &'static str,
    network: NetworkKind,
    /// Values in feature maps that fit the memory target, in millions: 3-D, 2-D.
    cost: (f64, f64),
    /// Memory target in GB.
    gb: f64,
    /// Fraction of the data set's voxels that a batch may hold.
    coverage: f64,
    resampling: Resampling,
}

/// How a planner's configurations are resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resampling {
    /// Cubic splines for images.
    Spline,
    /// Not at all.
    None,
    /// Linear in 32 bits, all axes together.
    Torch,
    /// Linear in 32 bits, an anisotropic axis on its own.
    TorchSeparateZ,
}

use NetworkKind::{PlainConvUNet, ResidualEncoderUNet};

#[rustfmt::skip]
const TABLE: [Constants; 9] = [
    Constants { planner: Planner::Default, name: "default", class: "ExperimentPlanner", plans: "nnUNetPlans",
        network: PlainConvUNet, cost: (560e6, 85e6), gb: 8.0, coverage: 0.05, resampling: Resampling::Spline },
    Constants { planner: Planner::ResEnc, name: "resenc", class: "ResEncUNetPlanner", plans: "nnUNetResEncUNetPlans",
        network: ResidualEncoderUNet, cost: (680e6, 135e6), gb: 8.0, coverage: 0.05, resampling: Resampling::Spline },
    Constants { planner: Planner::ResEncM, name: "resenc-m", class: "nnUNetPlannerResEncM", plans: "nnUNetResEncUNetMPlans",
        network: ResidualEncoderUNet, cost: (680e6, 135e6), gb: 8.0, coverage: 1.0, resampling: Resampling::Spline },
    Constants { planner: Planner::ResEncL, name: "resenc-l", class: "nnUNetPlannerResEncL", plans: "nnUNetResEncUNetLPlans",
        network: ResidualEncoderUNet, cost: (2100e6, 380e6), gb: 24.0, coverage: 1.0, resampling: Resampling::Spline },
    Constants { planner: Planner::ResEncXl, name: "resenc-xl", class: "nnUNetPlannerResEncXL", plans: "nnUNetResEncUNetXLPlans",
        network: ResidualEncoderUNet, cost: (3600e6, 560e6), gb: 40.0, coverage: 1.0, resampling: Resampling::Spline },
    Constants { planner: Planner::NoResampling, name: "no-resampling", class: "nnUNetPlannerResEncL_noResampling",
        plans: "nnUNetResEncUNetLPlans_noResampling",
        network: ResidualEncoderUNet, cost: (2100e6, 380e6), gb: 24.0, coverage: 1.0, resampling: Resampling::None },
    Constants { planner: Planner::TorchRes, name: "torchres", class: "nnUNetPlanner_torchres", plans: "nnUNetPlans_torchres",
        network: PlainConvUNet, cost: (560e6, 85e6), gb: 8.0, coverage: 0.05, resampling: Resampling::Torch },
    Constants { planner: Planner::ResEncLTorchRes, name: "resenc-l-torchres", class: "nnUNetPlannerResEncL_torchres",
        plans: "nnUNetResEncUNetLPlans_torchres",
        network: ResidualEncoderUNet, cost: (2100e6, 380e6), gb: 24.0, coverage: 1.0, resampling: Resampling::Torch },
    Constants { planner: Planner::ResEncLTorchResSepZ, name: "resenc-l-torchres-sepz", class: "nnUNetPlannerResEncL_torchres_sepz",
        plans: "nnUNetResEncUNetLPlans_torchres_sepz",
        network: ResidualEncoderUNet, cost: (2100e6, 380e6), gb: 24.0, coverage: 1.0, resampling: Resampling::TorchSeparateZ },
];

/// Other names on the command line.
const ALIASES: [(&str, Planner); 3] = [
    ("resenc-l-no-resampling", Planner::NoResampling),
    ("torch-resampling", Planner::TorchRes),
    ("torchres-sepz", Planner::ResEncLTorchResSepZ),
];

impl FromStr for Planner {
    type Err = PlanError;

    /// A name of the command line (`resenc-m`) or of the reference's class (`nnUNetPlannerResEncM`).
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let plain = text.to_lowercase().replace('_', "-");
        let row = TABLE.iter().find(|row| row.name == plain || row.class == text).map(|row| row.planner);
        let alias = || ALIASES.iter().find(|(name, _)| *name == plain).map(|(_, planner)| *planner);
        row.or_else(alias).ok_or_else(|| PlanError::Planner {
            name: text.to_owned(),
            available: TABLE.iter().map(|row| row.name).collect::<Vec<_>>().join(", "),
        })
    }
}

/// Reference values of a planner for 3-D and 2-D networks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference {
    pub(crate) cost: f64,
    pub(crate) batch: f64,
    pub(crate) max_features: usize,
}

impl Planner {
    /// Every planner.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.planner)
    }

    fn constants(self) -> &'static Constants {
        // The table has a row for every planner; a test holds it to that.
        TABLE.iter().find(|row| row.planner == self).unwrap_or(&TABLE[0])
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        self.constants().name
    }

    /// Name of the reference's class.
    pub fn class_name(self) -> &'static str {
        self.constants().class
    }

    /// The GPU memory that its configurations aim at where no other target is given, in GB.
    pub fn memory_target_gb(self) -> f64 {
        self.constants().gb
    }

    /// Name of its plans where no other is given.
    pub fn plans_name(self) -> &'static str {
        self.constants().plans
    }

    /// Memory target in GB for which the planner's constants were chosen, and where no other is given.
    pub fn memory_gb(self) -> f64 {
        self.constants().gb
    }

    pub(crate) fn network(self) -> NetworkKind {
        self.constants().network
    }

    pub(crate) fn reference(self, dims: usize) -> Reference {
        let (cost_3d, cost_2d) = self.constants().cost;
        if dims == 3 {
            Reference { cost: cost_3d, batch: 2.0, max_features: 320 }
        } else {
            Reference { cost: cost_2d, batch: 12.0, max_features: 512 }
        }
    }

    pub(crate) fn coverage(self) -> f64 {
        self.constants().coverage
    }

    /// Whether `2d` and `3d_fullres` share the default planner's folders of preprocessed cases.
    pub(crate) fn shares_data(self) -> bool {
        let row = self.constants();
        row.network == ResidualEncoderUNet && row.resampling == Resampling::Spline
    }

    pub(crate) fn resampling(self) -> Resampling {
        self.constants().resampling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planner_answers_to_both_its_names() {
        use Planner::*;
        let all = [
            Default,
            ResEnc,
            ResEncM,
            ResEncL,
            ResEncXl,
            NoResampling,
            TorchRes,
            ResEncLTorchRes,
            ResEncLTorchResSepZ,
        ];
        assert!(Planner::all().eq(all));
        for planner in all {
            assert_eq!(planner.constants().planner, planner);
            assert_eq!(planner.name().parse::<Planner>().unwrap(), planner);
            assert_eq!(planner.class_name().parse::<Planner>().unwrap(), planner);
        }
        assert_eq!("RESENC_XL".parse::<Planner>().unwrap(), ResEncXl);
        let error = "resenc-s".parse::<Planner>().unwrap_err().to_string();
        assert!(error.contains("resenc-s") && error.contains("resenc-xl"), "{error}");
    }
}
