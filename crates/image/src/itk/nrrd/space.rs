//! Header to space, as ITK takes it.

use super::header::Header;
use crate::ImageError;
use crate::itk::frame::Space;

/// Spacing, origin and directions of the axes, x towards the left and y towards the back.
pub(super) fn space(header: &Header<'_>, sizes: &[u64]) -> Result<Space, ImageError> {
    let axes = sizes.len();
    let mut space = Space::new(axes);
    let (dimension, signs) = named_space(header)?;
    let spacings = header.numbers("spacings", axes)?;
    if spacings.iter().flatten().any(|&s| s == 0.0) {
        return Err(header.wrong("a spacing is 0"));
    }
    let Some(dimension) = dimension else {
        for (target, &spacing) in space.spacing.iter_mut().zip(spacings.iter().flatten()) {
            *target = if spacing.is_nan() { 1.0 } else { spacing };
        }
        if let Some(origin) = origin_from_bounds(header, sizes, spacings)? {
            space.origin = origin;
        }
        return Ok(space);
    };
    if dimension != axes {
        return Err(header.wrong(format!("the space has {dimension} dimensions, the image {axes}")));
    }
    if spacings.is_some_and(|s| s.iter().any(|v| !v.is_nan())) {
        return Err(header.wrong("spacings beside a space: expected space directions"));
    }
    let sign = |row: usize| signs.get(row).copied().unwrap_or(1.0);
    if let Some(value) = header.get("space directions") {
        for (k, vector) in vectors(header, value, axes)?.into_iter().enumerate() {
            let Some(vector) = vector else { continue };
            let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
            space.spacing[k] = length;
            space.axes[k] = vector.iter().enumerate().map(|(row, v)| sign(row) * v / length).collect();
        }
    }
    let origin = header.get("space origin").map(|value| vectors(header, value, axes)).transpose()?;
    if let Some([Some(origin)]) = origin.as_deref() {
        space.origin = origin.iter().enumerate().map(|(row, v)| sign(row) * v).collect();
    }
    Ok(space)
}

/// Number of dimensions of the space and which of its axes run against LPS.
fn named_space(header: &Header<'_>) -> Result<(Option<usize>, [f64; 2]), ImageError> {
    if header.get("space dimension").is_some() {
        let found = header.whole("space dimension")?;
        return match usize::try_from(found) {
            Ok(dimension) => Ok((Some(dimension), [1.0, 1.0])),
            Err(_) => Err(header.wrong(format!("space dimension is {found}"))),
        };
    }
    let Some(name) = header.get("space") else { return Ok((None, [1.0, 1.0])) };
    let lower = name.to_lowercase();
    let (base, time) = match lower.strip_suffix("-time") {
        Some(base) => (base, 1),
        None => match lower.as_str() {
            "rast" | "last" | "lpst" => (&lower[..3], 1),
            other => (other, 0),
        },
    };
    let signs = match base {
        "right-anterior-superior" | "ras" => [-1.0, -1.0],
        "left-anterior-superior" | "las" => [1.0, -1.0],
        "left-posterior-superior" | "lps" | "scanner-xyz" | "3d-right-handed" | "3d-left-handed" => {
            [1.0, 1.0]
        }
        _ => return Err(header.wrong(format!("space {name:?} is not known"))),
    };
    Ok((Some(3 + time), signs))
}

/// Vectors like `(1,0,0)`, or `none`.
fn vectors(header: &Header<'_>, value: &str, axes: usize) -> Result<Vec<Option<Vec<f64>>>, ImageError> {
    let wrong = || header.wrong(format!("{value:?}: expected vectors of {axes} finite numbers"));
    let mut found = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("none") {
            found.push(None);
            rest = after.trim_start();
            continue;
        }
        let (inner, after) = rest.strip_prefix('(').and_then(|r| r.split_once(')')).ok_or_else(wrong)?;
        let numbers: Option<Vec<f64>> =
            inner.split(',').map(|word| word.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect();
        found.push(Some(numbers.filter(|n| n.len() == axes).ok_or_else(wrong)?));
        rest = after.trim_start();
        if found.len() > axes {
            return Err(wrong());
        }
    }
    Ok(found)
}

/// The centre of the first voxel where the header gives bounds of the axes, which are those of voxels unless it says `node`.
fn origin_from_bounds(
    header: &Header<'_>,
    sizes: &[u64],
    spacings: Option<Vec<f64>>,
) -> Result<Option<Vec<f64>>, ImageError> {
    let axes = sizes.len();
    let Some(mins) = header.numbers("axis mins", axes)? else { return Ok(None) };
    let maxs = header.numbers("axis maxs", axes)?;
    let centers = header.get("centers").or(header.get("centerings")).unwrap_or_default();
    let node: Vec<bool> = centers.split_whitespace().map(|word| word.eq_ignore_ascii_case("node")).collect();
    let known = |k: usize, list: &Option<Vec<f64>>| list.as_ref().map(|l| l[k]).filter(|v| !v.is_nan());
    let by_spacing = (0..axes).all(|k| known(k, &spacings).is_some());
    let origin = (0..axes).map(|k| {
        let at_node = node.get(k).copied().unwrap_or(false);
        let min = Some(mins[k]).filter(|v| !v.is_nan())?;
        let step = match by_spacing {
            true => known(k, &spacings)?,
            false => (known(k, &maxs)? - min) / sizes[k] as f64,
        };
        Some(if at_node { min } else { min + step / 2.0 })
    });
    Ok(origin.collect())
}
