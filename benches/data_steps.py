"""The reference's side of `benches/data_side_by_side`: draws inputs and times single steps.

usage: data_steps.py draw FOLDER [CASES] | resample FOLDER | labels FOLDER | sitk FOLDER | fingerprint FOLDER
"""
import json
import os
import resource
import sys
import time

import numpy as np

SHAPE, SPACING = (200, 512, 512), np.array([1.5, 0.8, 0.8])


def smooth(rng, shape, cells):
    """Noise that changes over `cells` cells per axis, without the time that a filter would take."""
    from scipy.ndimage import zoom
    coarse = rng.normal(size=cells)
    return zoom(coarse, [s / c for s, c in zip(shape, cells)], order=1, output=np.float32)


def draw(folder, cases):
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(1)
    body = smooth(rng, SHAPE, (10, 16, 16))
    volume = np.where(body > -0.3, body * 150 + 40, -1000).astype(np.float32)
    volume += rng.normal(0, 12, SHAPE).astype(np.float32)
    np.round(volume).astype("<f4").tofile(f"{folder}/volume.f32")
    labels = np.zeros(SHAPE, np.int16)
    for label in range(1, 5):
        labels[smooth(rng, SHAPE, (10, 12, 12)) > 1.1] = label
    labels[:100].astype("<i2").tofile(f"{folder}/labels.i16")
    if not cases:
        return
    import SimpleITK as sitk
    raw = f"{folder}/nnUNet_raw/Dataset950_Volumes"
    for sub in ("imagesTr", "labelsTr"):
        os.makedirs(f"{raw}/{sub}", exist_ok=True)
    for case in range(cases):
        noise = rng.normal(0, 4, SHAPE).astype(np.float32)
        for sub, name, array in (("imagesTr", f"case_{case:03d}_0000.nii.gz", np.round(volume + noise).astype(np.int16)),
                                 ("labelsTr", f"case_{case:03d}.nii.gz", np.roll(labels, 7 * case, 2).astype(np.uint8))):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing([float(v) for v in SPACING[::-1]])
            sitk.WriteImage(image, f"{raw}/{sub}/{name}", True, compressionLevel=1)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **{f"l{i}": i for i in range(1, 5)}},
                 "numTraining": cases, "file_ending": ".nii.gz"}
    json.dump(described, open(f"{raw}/dataset.json", "w"))


def report(step, seconds):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"step": step, "seconds": round(seconds, 4), "peak_mb": peak}), flush=True)


def resample(folder, is_seg):
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
    name, kind, shape = ("labels.i16", "<i2", (100, *SHAPE[1:])) if is_seg else ("volume.f32", "<f4", SHAPE)
    data = np.fromfile(f"{folder}/{name}", kind).reshape(1, *shape).astype(np.float32)
    target = SPACING * 0.7
    new_shape = compute_new_shape(shape, SPACING, target)
    start = time.perf_counter()
    resample_data_or_seg_to_shape(data, new_shape, SPACING, target, is_seg=is_seg, order=1 if is_seg else 3, order_z=0,
                                  force_separate_z=None)
    report("labels" if is_seg else "resample", time.perf_counter() - start)


def sitk_resample(folder):
    import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    data = np.fromfile(f"{folder}/volume.f32", "<f4").reshape(SHAPE)
    image = sitk.GetImageFromArray(data)
    image.SetSpacing([float(v) for v in SPACING[::-1]])
    target = SPACING * 0.7
    size = [int(round(n / 0.7)) for n in SHAPE]
    filter = sitk.ResampleImageFilter()
    filter.SetSize(size[::-1])
    filter.SetOutputSpacing([float(v) for v in target[::-1]])
    filter.SetInterpolator(sitk.sitkBSpline3)
    start = time.perf_counter()
    filter.Execute(image)
    report("sitk", time.perf_counter() - start)


if __name__ == "__main__":
    step, folder = sys.argv[1:3]
    if step == "draw":
        draw(folder, int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    elif step == "sitk":
        sitk_resample(folder)
    else:
        resample(folder, step == "labels")
