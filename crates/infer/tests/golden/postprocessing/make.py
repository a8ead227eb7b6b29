#!/usr/bin/env python3
"""What nnU-Net decides about postprocessing for small drawn segmentations: writes the folders beside this script.

usage: python make.py            (needs `pip install nnunetv2==2.8.1`)

Each folder holds `reference/`, `predicted/` (segmentations, dataset.json), and what nnU-Net made of them: `summary.json` of
the predictions, `postprocessing.json`, `postprocessing.pkl` and the segmentations `postprocessed/`.
"""
import json
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).parent
PLANS = dict(dataset_name="Dataset001_X", plans_name="nnUNetPlans", image_reader_writer="SimpleITKIO",
             transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2], label_manager="LabelManager", configurations={})


def write(array, path):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing((0.5, 0.75, 2.0))
    sitk.WriteImage(image, str(path), True)


def blob(shape, centre, radius):
    grid = np.indices(shape)
    return sum((grid[a] - centre[a]) ** 2 for a in range(3)) <= radius ** 2


def main():
    kinds = {
        "labels": dict(labels=dict(background=0, a=1, b=2, c=3)),
        "regions": dict(labels=dict(background=0, whole=[1, 2, 3], core=[2, 3], tip=3, ignore=4), regions_class_order=[1, 2, 3]),
        "one": dict(labels=dict(background=0, a=1)),
        "nothing": dict(labels=dict(background=0, a=1, b=2)),
    }
    for seed, (kind, dataset) in enumerate(kinds.items()):
        rng = np.random.default_rng(seed)
        dataset |= dict(channel_names={"0": "MRI"}, numTraining=4, file_ending=".nii.gz")
        folder = HERE / kind
        shutil.rmtree(folder, ignore_errors=True)
        reference, predicted = folder / "reference", folder / "predicted"
        reference.mkdir(parents=True)
        predicted.mkdir()
        (predicted / "dataset.json").write_text(json.dumps(dataset))
        for case in range(4):
            shape = tuple(rng.integers(9, 14, 3))
            labels = dataset["labels"]
            most = 1 if kind == "one" else 2 if kind == "nothing" else 3
            truth = np.zeros(shape)
            for label in range(1, most + 1):
                if not (kind == "labels" and label == 3 and case == 1):
                    truth[blob(shape, rng.integers(3, 7, 3), 3.2 - 0.5 * label)] = label
            found = truth.copy()
            if kind != "nothing":
                stray = (gaussian_filter(rng.normal(size=shape), 0.7) > 0.75) & (truth == 0)
                found[stray] = rng.integers(1, most + 1, stray.sum())
            else:
                truth[:2, :2, :2] = 1
                found[:2, :2, :2] = 1
            if "ignore" in labels:
                truth[-2:] = labels["ignore"]
            write(truth, reference / f"c{case}.nii.gz")
            write(found, predicted / f"c{case}.nii.gz")
        determine_postprocessing(str(predicted), str(reference), PLANS, dataset, 1)
        for name in ("summary.json", "postprocessing.json", "postprocessing.pkl", "postprocessed"):
            shutil.move(predicted / name, folder / name)


if __name__ == "__main__":
    main()
