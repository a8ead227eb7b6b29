//! Which planner decides, and its constants.

use std::str::FromStr;

use crate::{NetworkKind, PlanError};

/// The planners that nnU-Net ships for its U-Nets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Planner {
    /// `ExperimentPlanner`: `PlainConvUNet` for 8 GB.
    #[default]
    Default,
    /// `nnUNetPlannerResEncM`: residual encoder for 8 GB.
    ResEncM,
    /// `nnUNetPlannerResEncL`: residual encoder for 24 GB.
    ResEncL,
    /// `nnUNetPlannerResEncXL`: residual encoder for 40 GB.
    ResEncXl,
    /// `nnUNetPlannerResEncL_noResampling`: as L, images keep their spacing.
    NoResampling,
}

const NAMES: [(Planner, &str); 5] = [
    (Planner::Default, "default"),
    (Planner::ResEncM, "resenc-m"),
    (Planner::ResEncL, "resenc-l"),
    (Planner::ResEncXl, "resenc-xl"),
    (Planner::NoResampling, "no-resampling"),
];

impl FromStr for Planner {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let found = NAMES.iter().find(|(planner, name)| *name == text || planner.class_name() == text);
        found.map(|(planner, _)| *planner).ok_or_else(|| PlanError::Planner {
            name: text.to_owned(),
            available: NAMES.map(|(_, name)| name).join(", "),
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
    /// Name of the reference's class.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Default => "ExperimentPlanner",
            Self::ResEncM => "nnUNetPlannerResEncM",
            Self::ResEncL => "nnUNetPlannerResEncL",
            Self::ResEncXl => "nnUNetPlannerResEncXL",
            Self::NoResampling => "nnUNetPlannerResEncL_noResampling",
        }
    }

    /// Name of its plans where no other is given.
    pub fn plans_name(self) -> &'static str {
        match self {
            Self::Default => "nnUNetPlans",
            Self::ResEncM => "nnUNetResEncUNetMPlans",
            Self::ResEncL => "nnUNetResEncUNetLPlans",
            Self::ResEncXl => "nnUNetResEncUNetXLPlans",
            Self::NoResampling => "nnUNetResEncUNetLPlans_noResampling",
        }
    }

    pub(crate) fn network(self) -> NetworkKind {
        if self == Self::Default { NetworkKind::PlainConvUNet } else { NetworkKind::ResidualEncoderUNet }
    }

    /// Memory target in GB for which the reference values hold.
    pub(crate) fn reference_gb(self) -> f64 {
        match self {
            Self::Default | Self::ResEncM => 8.0,
            Self::ResEncL | Self::NoResampling => 24.0,
            Self::ResEncXl => 40.0,
        }
    }

    pub(crate) fn reference(self, dims: usize) -> Reference {
        let (cost_3d, cost_2d) = match self {
            Self::Default => (560e6, 85e6),
            Self::ResEncM => (680e6, 135e6),
            Self::ResEncL | Self::NoResampling => (2100e6, 380e6),
            Self::ResEncXl => (3600e6, 560e6),
        };
        if dims == 3 {
            Reference { cost: cost_3d, batch: 2.0, max_features: 320 }
        } else {
            Reference { cost: cost_2d, batch: 12.0, max_features: 512 }
        }
    }

    /// Fraction of the data set's voxels that a batch may hold.
    pub(crate) fn coverage(self) -> f64 {
        if self == Self::Default { 0.05 } else { 1.0 }
    }

    /// Whether `2d` and `3d_fullres` share the default planner's folders of preprocessed cases.
    pub(crate) fn shares_data(self) -> bool {
        matches!(self, Self::ResEncM | Self::ResEncL | Self::ResEncXl)
    }

    pub(crate) fn resamples(self) -> bool {
        self != Self::NoResampling
    }
}
