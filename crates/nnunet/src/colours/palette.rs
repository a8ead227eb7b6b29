//! A colour for every label.

/// Colours of the labels 1 to 10.
const FIRST: [[u8; 3]; 10] = [
    [230, 60, 60],
    [60, 170, 75],
    [70, 110, 230],
    [245, 200, 50],
    [170, 70, 200],
    [60, 200, 220],
    [245, 130, 50],
    [220, 110, 180],
    [140, 200, 90],
    [150, 110, 70],
];
/// Inverse powers of the root of x⁴ = x + 1: steps of a sequence that fills a cube evenly. M. Roberts, *The unreasonable
/// effectiveness of quasirandom sequences* (2018).
const STEPS: [f64; 3] = [0.819_172_513_396_164_5, 0.671_043_606_703_789_3, 0.549_700_477_901_970_2];
/// The darkest that a channel gets, and how far it goes from there.
const DARKEST: f64 = 48.0;
const RANGE: f64 = 208.0;

/// Colour of a label in overlays and colour tables, as RGB; none for the background and below.
///
/// It depends on the number alone: the same label has the same colour in every data set. The labels 1 to 255 have colours that all
/// differ.
///
/// ```
/// assert_eq!(nnunet::label_colour(1), Some([230, 60, 60]));
/// assert_eq!(nnunet::label_colour(0), None);
/// ```
pub fn label_colour(label: i16) -> Option<[u8; 3]> {
    let index = usize::try_from(label).ok()?.checked_sub(1)?;
    let drawn = || {
        let k = (index + 1 - FIRST.len()) as f64;
        STEPS.map(|step| (DARKEST + (RANGE * (0.5 + k * step).fract()).floor()) as u8)
    };
    Some(FIRST.get(index).copied().unwrap_or_else(drawn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_255_labels_can_be_told_apart() {
        let colours: Vec<[u8; 3]> = (1..=255).filter_map(label_colour).collect();
        assert_eq!(colours.len(), 255);
        for (i, a) in colours.iter().enumerate() {
            for b in &colours[..i] {
                let apart: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                assert!(apart.sqrt() > 12.0, "{a:?} {b:?}");
            }
        }
        assert_eq!((label_colour(0), label_colour(-3)), (None, None));
        assert!(label_colour(i16::MAX).is_some());
    }

    #[test]
    fn colours_stay_as_they_are() {
        assert_eq!(label_colour(11), Some([114, 83, 58]));
        assert_eq!(label_colour(104), Some([152, 168, 83]));
    }
}
