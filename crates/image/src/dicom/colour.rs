//! Colours as DICOM keeps them: CIE L*a*b* of the profile connection space (D50), 16 bits each.

const WHITE: [f64; 3] = [0.964_22, 1.0, 0.825_21];
/// Linear sRGB to XYZ, adapted to D50.
const TO_XYZ: [[f64; 3]; 3] = [
    [0.436_074_7, 0.385_064_9, 0.143_080_4],
    [0.222_504_5, 0.716_878_6, 0.060_616_9],
    [0.013_932_2, 0.097_104_5, 0.714_173_3],
];
const TO_RGB: [[f64; 3]; 3] = [
    [3.133_856_1, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454_0],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];
const KNEE: f64 = 6.0 / 29.0;

fn times(m: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
    m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

/// sRGB to Recommended Display CIELab Value, (0062,000D).
pub(super) fn to_lab(rgb: [u8; 3]) -> [u16; 3] {
    let linear = rgb.map(|v| {
        let v = f64::from(v) / 255.0;
        if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    });
    let xyz = times(&TO_XYZ, linear);
    let f = std::array::from_fn::<f64, 3, _>(|i| {
        let t = xyz[i] / WHITE[i];
        if t > KNEE.powi(3) { t.cbrt() } else { t / (3.0 * KNEE * KNEE) + 4.0 / 29.0 }
    });
    let lab = [116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])];
    [lab[0] * 655.35, (lab[1] + 128.0) * 257.0, (lab[2] + 128.0) * 257.0].map(|v| v.round() as u16)
}

/// The other way round.
pub(super) fn from_lab([l, a, b]: [u16; 3]) -> [u8; 3] {
    let y = (f64::from(l) / 655.35 + 16.0) / 116.0;
    let f = [y + (f64::from(a) / 257.0 - 128.0) / 500.0, y, y - (f64::from(b) / 257.0 - 128.0) / 200.0];
    let xyz = std::array::from_fn(|i| {
        let t = f[i];
        WHITE[i] * if t > KNEE { t.powi(3) } else { 3.0 * KNEE * KNEE * (t - 4.0 / 29.0) }
    });
    times(&TO_RGB, xyz).map(|v| {
        let v = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        (v.clamp(0.0, 1.0) * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::{from_lab, to_lab};

    #[test]
    fn colours_come_back() {
        for r in (0..=255).step_by(15) {
            for g in (0..=255).step_by(15) {
                for b in (0..=255u8).step_by(15) {
                    let back = from_lab(to_lab([r, g, b]));
                    let near = back.iter().zip([r, g, b]).all(|(x, y)| x.abs_diff(y) <= 1);
                    assert!(near, "{:?} {back:?}", [r, g, b]);
                }
            }
        }
        assert_eq!(to_lab([255; 3])[0], 65535);
        assert_eq!(to_lab([0; 3]), [0, 32896, 32896]);
    }
}
