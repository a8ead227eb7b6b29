"""Makes statistics.json: measures of drawn labels by SimpleITK, and medians by NumPy.

Mean, standard deviation (of a sample), extremes: LabelStatisticsImageFilter. Volume, centroid, bounding box:
LabelShapeStatisticsImageFilter. Medians: NumPy, since ITK's come from a histogram.

pip install simpleitk==2.5.7 numpy scipy
"""
import json
import math
import os

import numpy as np
import scipy.ndimage as nd
import SimpleITK as sitk

rng = np.random.default_rng(11)
SHAPE = (6, 9, 8)
SPACING = (0.75, 1.25, 3.5)  # x, y, z
ORIGIN = (-31.5, 12.25, 107.0)


def measure(labels, image, values):
    mask = sitk.Cast(sitk.GetImageFromArray(np.isin(sitk.GetArrayFromImage(labels), values).astype(np.uint8)), sitk.sitkUInt8)
    mask.CopyInformation(labels)
    intensity, shape = sitk.LabelStatisticsImageFilter(), sitk.LabelShapeStatisticsImageFilter()
    intensity.Execute(image, mask)
    shape.Execute(mask)
    x, y, z, nx, ny, nz = shape.GetBoundingBox(1)
    inside = sitk.GetArrayFromImage(image)[sitk.GetArrayFromImage(mask) == 1].astype(np.float64)
    return dict(
        labels=values, voxels=intensity.GetCount(1), volume_ml=shape.GetPhysicalSize(1) / 1000,
        centroid_mm=shape.GetCentroid(1), first=[z, y, x], last=[z + nz - 1, y + ny - 1, x + nx - 1],
        mean=intensity.GetMean(1), sd=intensity.GetSigma(1), min=intensity.GetMinimum(1),
        max=intensity.GetMaximum(1), median=float(np.median(inside)))


field = nd.gaussian_filter(rng.standard_normal(SHAPE), 1.0)
labels = np.digitize(field, [0.02, 0.12, 0.25]).astype(np.int16)
labels[(labels == 3) & (np.indices(SHAPE)[1] < 4)] = 0
labels[(labels == 2) & (np.indices(SHAPE)[2] > 5)] = 0
labels[5, 1, 2] = 4
image = (rng.normal(900, 150, SHAPE) + 300 * labels).astype(np.float32)
image[labels == 2] *= -1
turn = math.radians(20)
direction = (math.cos(turn), -math.sin(turn), 0, math.sin(turn), math.cos(turn), 0, 0, 0, -1)
volumes = []
for array in (labels, image):
    volume = sitk.GetImageFromArray(array)
    volume.SetSpacing(SPACING)
    volume.SetOrigin(ORIGIN)
    volume.SetDirection(direction)
    volumes.append(volume)
result = dict(
    shape=SHAPE, spacing=SPACING[::-1], origin=ORIGIN, direction=np.reshape(direction, (3, 3)).tolist(),
    labels=labels.ravel().tolist(), image=image.ravel().astype(float).tolist(),
    classes=[measure(*volumes, values) for values in ([1], [2], [3], [4], [1, 2, 3], [2, 4])])
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "statistics.json"), "w") as out:
    json.dump(result, out)
    out.write("\n")
for entry in result["classes"]:
    print(entry)
