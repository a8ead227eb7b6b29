"""Makes extended.json: surface distances and lesion counts of drawn masks, by MONAI, DeepMind's surface-distance and SciPy.

pip install monai==1.5.1 surface-distance==0.1 numpy scipy torch
"""
import json
import os

import numpy as np
import scipy.ndimage as nd
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from surface_distance.metrics import compute_robust_hausdorff, compute_surface_distances

rng = np.random.default_rng(7)


def blobs(shape, level, sigma):
    field = nd.gaussian_filter(rng.standard_normal(shape), sigma)
    return field / field.std() > level


def lesions(a, b):
    """Components of a (faces, edges and corners) that meet b, and that do not."""
    labels, count = nd.label(a, np.ones((3, 3, 3)))
    met = sum(bool(b[labels == i].any()) for i in range(1, count + 1))
    return met, count - met


cases = []
for shape, spacing, level, sigma, tolerance in [
    ((12, 17, 15), (1.0, 1.0, 1.0), 0.8, 1.5, 1.0),
    ((9, 20, 18), (5.0, 0.5, 0.5), 1.0, 1.2, 2.0),
    ((14, 11, 13), (0.7, 1.3, 2.1), 1.3, 0.8, 1.0),
    ((1, 25, 30), (999.0, 0.8, 0.8), 0.9, 1.5, 0.5),
]:
    reference = blobs(shape, level, sigma)
    prediction = np.roll(reference, 1, 1) ^ blobs(shape, 2.2, 1.0)
    prediction[:, :3] = False
    a, b = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (prediction, reference))
    arguments = dict(include_background=True, spacing=spacing)
    found, missed = lesions(reference, prediction)
    _, wrong = lesions(prediction, reference)
    # Surfaces as areas between voxels, weighed: another definition, near but not equal.
    areas = compute_surface_distances(reference, prediction, spacing) if shape[0] > 1 else None
    cases.append(dict(
        shape=shape, spacing=spacing, tolerance=tolerance,
        reference=np.flatnonzero(reference).tolist(), prediction=np.flatnonzero(prediction).tolist(),
        NSD=compute_surface_dice(a, b, [tolerance], **arguments).item(),
        HD95=compute_hausdorff_distance(a, b, percentile=95, **arguments).item(),
        ASSD=compute_average_surface_distance(a, b, symmetric=True, **arguments).item(),
        lesions_found=found, lesions_missed=missed, lesions_wrong=wrong,
        HD95_of_areas=compute_robust_hausdorff(areas, 95) if areas else None))
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "extended.json"), "w") as out:
    out.write("[" + ",\n".join(json.dumps(case) for case in cases) + "]\n")
for case in cases:
    print({k: v for k, v in case.items() if k not in ("reference", "prediction")})
