#!/usr/bin/env python3
"""Draws two small data sets and lets nnU-Net v2.8.1 extract their fingerprints.

usage: python make.py            (needs `pip install nnunetv2==2.8.1`)

two_channels: anisotropic, zero borders of different widths, holes, an ignore label.
one_empty: one channel, one of the cases without any foreground.
"""
import json, os, shutil, tempfile
from pathlib import Path

here = Path(__file__).parent
work = Path(tempfile.mkdtemp())
for key in ("raw", "preprocessed", "results"):
    (work / key).mkdir()
    os.environ[f"nnUNet_{key}"] = str(work / key)
import numpy as np
import SimpleITK as sitk
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor


def save(array, path):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 4.0))
    sitk.WriteImage(image, str(path), True)


def draw(name, channels, labels, empty):
    rng = np.random.default_rng(len(name))
    folder = here / name
    shutil.rmtree(folder, ignore_errors=True)
    for sub in ("imagesTr", "labelsTr"):
        (folder / sub).mkdir(parents=True)
    for case in range(3):
        shape = tuple(int(n) for n in rng.integers(8, 14, 3))
        low, high = rng.integers(0, 3, 3), rng.integers(0, 3, 3)
        inside = tuple(slice(a, n - b) for a, b, n in zip(low, high, shape))
        seg = np.zeros(shape, np.uint8)
        if case != empty:
            seg[inside] = rng.integers(0, max(labels.values()) + 1, seg[inside].shape)
        for channel in range(channels):
            image = np.zeros(shape, np.int16)
            image[inside] = rng.normal(100 + 50 * channel, 40, image[inside].shape)
            save(image, folder / "imagesTr" / f"case{case}_{channel:04d}.nii.gz")
        save(seg, folder / "labelsTr" / f"case{case}.nii.gz")
    dataset = {"channel_names": {str(c): "MRI" for c in range(channels)}, "labels": labels, "numTraining": 3,
               "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=1))
    shutil.copytree(folder, work / "raw" / f"Dataset00{channels}_{name}")
    DatasetFingerprintExtractor(channels, num_processes=1).run(overwrite_existing=True)
    made = work / "preprocessed" / f"Dataset00{channels}_{name}" / "dataset_fingerprint.json"
    shutil.copy(made, folder / "dataset_fingerprint.json")


if __name__ == "__main__":
    draw("two_channels", 2, {"background": 0, "a": 1, "b": 2, "ignore": 3}, empty=None)
    draw("one_empty", 1, {"background": 0, "a": 1}, empty=1)
