use std::sync::Arc;

use nnunet_preprocess::{ClassKey, ClassLocations};
use rand::{Rng, RngExt};

use super::{CaseSource, CropRange, Oversampling};
use crate::TrainError;

/// Draws cases and patches for the samples of a batch.
pub struct Sampler {
    source: Arc<dyn CaseSource>,
    cases: Vec<String>,
    /// Size the network sees, `[z, y, x]`.
    patch: [usize; 3],
    /// Size that is cut out.
    loaded: [usize; 3],
    batch_size: usize,
    oversample: f64,
    oversampling: Oversampling,
    has_ignore: bool,
}

/// One drawn patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Identifier of the case.
    pub case: String,
    /// Lower corner `[z, y, x]` in voxels; may be negative.
    pub lower: [i64; 3],
}

impl Sampler {
    /// A sampler over `cases`, which are sorted. `oversample` is the part of a batch that is forced to contain
    /// foreground; with an ignore label the other samples are drawn from annotated voxels.
    ///
    /// # Errors
    /// If there are no cases or a size is zero.
    pub fn new(
        source: Arc<dyn CaseSource>,
        mut cases: Vec<String>,
        patch: [usize; 3],
        loaded: [usize; 3],
        batch_size: usize,
        oversample: f64,
        has_ignore: bool,
    ) -> Result<Self, TrainError> {
        if cases.is_empty() {
            return Err(TrainError::Option {
                option: "split",
                found: "no cases".to_owned(),
                expected: "at least one case to draw patches from",
            });
        }
        cases.sort_unstable();
        let oversampling = Oversampling::default();
        Ok(Self { source, cases, patch, loaded, batch_size, oversample, oversampling, has_ignore })
    }

    /// The same sampler with another choice of the samples that must contain foreground.
    pub fn with_oversampling(self, oversampling: Oversampling) -> Self {
        Self { oversampling, ..self }
    }

    /// Size that is cut out, `[z, y, x]`.
    pub fn loaded(&self) -> [usize; 3] {
        self.loaded
    }

    /// Where patches come from.
    pub fn source(&self) -> &dyn CaseSource {
        self.source.as_ref()
    }

    /// Draws sample `index` of a batch: the case uniformly with replacement, then the patch.
    ///
    /// # Errors
    /// If the case cannot be read.
    pub fn draw(&self, index: usize, rng: &mut impl Rng) -> Result<Drawn, TrainError> {
        let case = &self.cases[rng.random_range(0..self.cases.len())];
        let range = CropRange::new(self.patch, self.loaded, self.source.shape(case)?);
        let forced = self.oversampling.is_forced(index, self.batch_size, self.oversample, rng);
        let voxel = if forced {
            forced_voxel(&self.source.locations(case)?, rng)
        } else if self.has_ignore {
            annotated_voxel(&self.source.locations(case)?, rng)
        } else {
            None
        };
        let lower = voxel.map_or_else(|| range.random(rng), |voxel| range.around(voxel));
        Ok(Drawn { case: case.clone(), lower })
    }
}

fn is_annotated(class: &ClassLocations) -> bool {
    matches!(class.class, ClassKey::Annotated(_))
}

/// A voxel of a uniformly chosen class that has some; "annotated" only counts where nothing else is there.
fn forced_voxel(classes: &[ClassLocations], rng: &mut impl Rng) -> Option<[u32; 3]> {
    let mut eligible: Vec<_> = classes.iter().filter(|class| !class.voxels.is_empty()).collect();
    if eligible.iter().any(|class| !is_annotated(class)) {
        eligible.retain(|class| !is_annotated(class));
    }
    pick(&eligible, rng).and_then(|class| pick(&class.voxels, rng)).copied()
}

fn annotated_voxel(classes: &[ClassLocations], rng: &mut impl Rng) -> Option<[u32; 3]> {
    let class = classes.iter().find(|class| is_annotated(class))?;
    pick(&class.voxels, rng).copied()
}

fn pick<'a, T>(from: &'a [T], rng: &mut impl Rng) -> Option<&'a T> {
    if from.is_empty() { None } else { Some(&from[rng.random_range(0..from.len())]) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use nnunet_augment::sample_rng;

    use super::*;
    use crate::sampling::Locations;

    struct Fixed(Locations);

    impl CaseSource for Fixed {
        fn shape(&self, _: &str) -> Result<[usize; 3], TrainError> {
            Ok([20, 20, 20])
        }
        fn locations(&self, _: &str) -> Result<Locations, TrainError> {
            Ok(self.0.clone())
        }
        fn read_patch(
            &self,
            case: &str,
            _: [i64; 3],
            _: [usize; 3],
        ) -> Result<(ndarray::Array4<f32>, ndarray::Array3<i16>), TrainError> {
            Err(TrainError::Loader(case.to_owned()))
        }
    }

    fn class(class: ClassKey, voxels: &[[u32; 3]]) -> ClassLocations {
        ClassLocations { class, voxels: voxels.to_vec() }
    }

    fn sampler(classes: Vec<ClassLocations>, has_ignore: bool) -> Sampler {
        let source = Arc::new(Fixed(Arc::new(classes)));
        let cases = vec!["b".to_owned(), "a".to_owned()];
        Sampler::new(source, cases, [4; 3], [4; 3], 3, 0.33, has_ignore).unwrap()
    }

    fn corners(sampler: &Sampler, index: usize) -> HashMap<[i64; 3], usize> {
        let mut counts = HashMap::new();
        for i in 0..400 {
            let drawn = sampler.draw(index, &mut sample_rng(1, 0, i)).unwrap();
            *counts.entry(drawn.lower).or_insert(0) += 1;
        }
        counts
    }

    #[test]
    fn forced_samples_choose_a_class_and_then_a_voxel() {
        let many: Vec<[u32; 3]> = (4..12).map(|x| [10, 10, x]).collect();
        let annotated = class(ClassKey::Annotated(vec![0, 1]), &[[5, 5, 5]]);
        let classes = vec![
            class(ClassKey::Label(1), &many),
            class(ClassKey::Label(2), &[[2, 2, 2]]),
            class(ClassKey::Label(3), &[]),
            annotated,
        ];
        let counts = corners(&sampler(classes, true), 2);
        assert_eq!(counts.len(), 9, "eight voxels of one class, one of the other: {counts:?}");
        let rare = counts[&[0, 0, 0]];
        assert!((160..240).contains(&rare), "classes are equally likely, got {rare} of 400");
    }

    #[test]
    fn annotated_voxels_serve_where_there_is_no_foreground_and_for_samples_that_are_not_forced() {
        let classes =
            vec![class(ClassKey::Label(1), &[]), class(ClassKey::Annotated(vec![0, 1]), &[[9, 9, 9]])];
        let sampler = sampler(classes, true);
        for index in [0, 2] {
            assert_eq!(corners(&sampler, index).into_keys().collect::<Vec<_>>(), [[7, 7, 7]]);
        }
    }

    #[test]
    fn cases_without_foreground_fall_back_to_random_patches() {
        let sampler = sampler(vec![class(ClassKey::Label(1), &[])], false);
        assert!(corners(&sampler, 2).len() > 100);
    }

    #[test]
    fn no_cases_is_an_error() {
        let source = Arc::new(Fixed(Arc::new(Vec::new())));
        assert!(Sampler::new(source, Vec::new(), [4; 3], [4; 3], 2, 0.33, false).is_err());
    }
}
