//! nnU-Net's trainer variants as options.

use crate::options::DEFAULT_TRAINER;
use crate::{
    AugmentSet, LossTerms, LrSchedule, Mirroring, OptimiserKind, Oversampling, TrainError, TrainOptions,
};

/// A change of the default options.
type Change = fn(&mut TrainOptions);

const ADAMW: Change = |o| {
    o.optimiser = OptimiserKind::Adam { betas: [0.9, 0.999], amsgrad: true, decoupled: true };
};
const ADAM: Change = |o| {
    o.optimiser = OptimiserKind::Adam { betas: [0.9, 0.999], amsgrad: false, decoupled: false };
};
const LR_1E3: Change = |o| o.initial_lr = 1e-3;
const LR_3E4: Change = |o| o.initial_lr = 3e-4;
const NO_MIRRORING: Change = |o| o.augmentation.mirroring = Mirroring::None;
const MIRROR_01: Change = |o| o.augmentation.mirroring = Mirroring::AllButLast;
const NEAREST_LABELS: Change = |o| o.augmentation.nearest_labels = true;
const NEAREST_IMAGE: Change = |o| o.augmentation.nearest_image = true;
const DA5: Change = |o| o.augmentation.set = AugmentSet::Da5;
const PER_SAMPLE: Change = |o| o.oversampling = Oversampling::PerSample;

/// Names after the default trainer's and what they change.
const VARIANTS: &[(&str, &[Change])] = &[
    ("", &[]),
    ("_1epoch", &[|o| o.epochs = 1]),
    ("_5epochs", &[|o| o.epochs = 5]),
    ("_10epochs", &[|o| o.epochs = 10]),
    ("_20epochs", &[|o| o.epochs = 20]),
    ("_50epochs", &[|o| o.epochs = 50]),
    ("_100epochs", &[|o| o.epochs = 100]),
    ("_250epochs", &[|o| o.epochs = 250]),
    ("_500epochs", &[|o| o.epochs = 500]),
    ("_750epochs", &[|o| o.epochs = 750]),
    ("_2000epochs", &[|o| o.epochs = 2000]),
    ("_4000epochs", &[|o| o.epochs = 4000]),
    ("_8000epochs", &[|o| o.epochs = 8000]),
    ("_250epochs_NoMirroring", &[|o| o.epochs = 250, NO_MIRRORING]),
    ("_2000epochs_NoMirroring", &[|o| o.epochs = 2000, NO_MIRRORING]),
    ("_4000epochs_NoMirroring", &[|o| o.epochs = 4000, NO_MIRRORING]),
    ("_8000epochs_NoMirroring", &[|o| o.epochs = 8000, NO_MIRRORING]),
    ("NoDA", &[|o| o.augmentation.set = AugmentSet::None]),
    ("NoMirroring", &[NO_MIRRORING]),
    ("_onlyMirror01", &[MIRROR_01]),
    ("_onlyMirror01_1500ep", &[MIRROR_01, |o| o.epochs = 1500]),
    ("_onlyMirror01_DASegOrd0", &[MIRROR_01, NEAREST_LABELS]),
    ("_DASegOrd0", &[NEAREST_LABELS]),
    ("_DASegOrd0_NoMirroring", &[NEAREST_LABELS, NO_MIRRORING]),
    ("_noDummy2DDA", &[|o| o.augmentation.no_dummy_2d = true]),
    ("DA5", &[DA5]),
    ("DA5ord0", &[DA5, NEAREST_LABELS, NEAREST_IMAGE]),
    ("DA5Segord0", &[DA5, NEAREST_LABELS]),
    ("DA5_10epochs", &[DA5, |o| o.epochs = 10]),
    ("_onlyMirror01_DA5", &[DA5, MIRROR_01]),
    ("CELoss", &[|o| o.loss = LossTerms::CE]),
    ("CELoss_5epochs", &[|o| o.loss = LossTerms::CE, |o| o.epochs = 5]),
    ("DiceLoss", &[|o| o.loss = LossTerms::DICE]),
    ("DiceCELoss_noSmooth", &[|o| o.loss = LossTerms::DICE_CE_NO_SMOOTH]),
    ("Topk10Loss", &[|o| o.loss = LossTerms::TOP_K_10]),
    ("Topk10LossLS01", &[|o| o.loss = LossTerms::TOP_K_10_SMOOTHED]),
    ("DiceTopK10Loss", &[|o| o.loss = LossTerms::DICE_TOP_K_10]),
    ("Adam", &[ADAMW]),
    ("Adam1en3", &[ADAMW, LR_1E3]),
    ("Adam3en4", &[ADAMW, LR_3E4]),
    ("VanillaAdam", &[ADAM]),
    ("VanillaAdam1en3", &[ADAM, LR_1E3]),
    ("VanillaAdam3en4", &[ADAM, LR_3E4]),
    ("CosAnneal", &[|o| o.schedule = LrSchedule::Cosine]),
    ("_warmup", &[|o| o.schedule = LrSchedule::WarmUp { epochs: 50 }]),
    ("_probabilisticOversampling", &[|o| o.oversampling = Oversampling::PerSampleLikeBatch]),
    ("_probabilisticOversampling_033", &[PER_SAMPLE, |o| o.oversample = 0.33]),
    ("_probabilisticOversampling_010", &[PER_SAMPLE, |o| o.oversample = 0.1]),
    ("NoDeepSupervision", &[|o| o.deep_supervision = false]),
    // Its batch norms are no option: they follow from its name, as prediction has to know of them too.
    ("BN", &[]),
];

/// Name of the variant with batches of eight, which has an underscore of its own.
const BATCH_OF_EIGHT: &str = "nnUNet_Trainer_BS8";

impl TrainOptions {
    /// The options of one of nnU-Net's trainers, for instance `nnUNetTrainer_250epochs` or `nnUNetTrainerDA5`.
    ///
    /// ```
    /// use nnunet_train::{LossTerms, TrainOptions};
    ///
    /// let options = TrainOptions::named("nnUNetTrainerDiceLoss").unwrap();
    /// assert_eq!((options.loss, options.epochs), (LossTerms::DICE, 1000));
    /// assert!(TrainOptions::named("nnUNetTrainerOfTomorrow").is_err());
    /// ```
    ///
    /// # Errors
    /// A name that is not one of [`TrainOptions::names`].
    pub fn named(trainer: &str) -> Result<Self, TrainError> {
        let mut options = Self { trainer: trainer.to_owned(), ..Self::default() };
        if trainer == BATCH_OF_EIGHT {
            options.batch_size = Some(8);
            return Ok(options);
        }
        let rest = trainer.strip_prefix(DEFAULT_TRAINER);
        let known = rest.and_then(|rest| VARIANTS.iter().find(|(name, _)| *name == rest));
        let Some((_, changes)) = known else {
            return Err(TrainError::Trainer {
                found: trainer.to_owned(),
                known: Self::names().collect::<Vec<_>>().join(", "),
            });
        };
        changes.iter().for_each(|change| change(&mut options));
        Ok(options)
    }

    /// Names of all trainers that [`TrainOptions::named`] knows.
    pub fn names() -> impl Iterator<Item = String> {
        let variants = VARIANTS.iter().map(|(name, _)| format!("{DEFAULT_TRAINER}{name}"));
        variants.chain([BATCH_OF_EIGHT.to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_options_that_can_run() {
        let mut names: Vec<String> = TrainOptions::names().collect();
        assert_eq!(names.len(), 51);
        for name in &names {
            let options = TrainOptions::named(name).unwrap();
            assert_eq!(&options.trainer, name);
            options.check().unwrap();
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 51, "a name stands twice");
    }

    #[test]
    fn variants_change_what_they_say() {
        let named = |name: &str| TrainOptions::named(&format!("nnUNetTrainer{name}")).unwrap();
        assert_eq!(named("_onlyMirror01_1500ep").epochs, 1500);
        assert_eq!(named("_onlyMirror01_1500ep").augmentation.mirroring, Mirroring::AllButLast);
        assert_eq!(named("Adam3en4").initial_lr, 3e-4);
        assert!(matches!(
            named("Adam").optimiser,
            OptimiserKind::Adam { amsgrad: true, decoupled: true, .. }
        ));
        assert_eq!(named("CosAnneal").schedule, LrSchedule::Cosine);
        assert!(!named("NoDeepSupervision").deep_supervision);
        let da5 = named("DA5ord0").augmentation;
        assert!(da5.nearest_image && da5.nearest_labels && da5.set == AugmentSet::Da5);
        assert_eq!(TrainOptions::named("nnUNet_Trainer_BS8").unwrap().batch_size, Some(8));
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = TrainOptions::named("nnUNetTrainerPrimus").unwrap_err().to_string();
        assert!(
            error.contains("nnUNetTrainerPrimus") && error.contains("nnUNetTrainerDA5_10epochs"),
            "{error}"
        );
    }
}
