#!/usr/bin/env python3
"""nnU-Net's export of logits on a grid of 1.5 mm, 400 × 273 × 273, to 400 × 512 × 512.

usage: python export.py CLASSES [PLANES] [LABELS.raw | PROBABILITIES.npz] [single]     (needs `pip install nnunetv2==2.8.1`)
Prints seconds and the peak of memory in MB. A `.raw` file of labels, written by the program `export` from the same logits in
single precision, is compared with its own (with `single`, the logits here have single precision, too, which it otherwise never
sees); an `.npz` is written from the probabilities, with the time that takes.
"""
import resource
import sys
import time

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape as export
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

classes, planes = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400
linear = dict(is_seg=False, order=1, order_z=0, force_separate_z=None)
configuration = dict(
    spacing=[1.5, 1.5, 1.5], resampling_fn_probabilities="resample_data_or_seg_to_shape",
    resampling_fn_probabilities_kwargs=linear, architecture=dict(network_class_name="", arch_kwargs={}))
plans = PlansManager(dict(
    plans_name="nnUNetPlans", dataset_name="Dataset001_X", transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2],
    label_manager="LabelManager", configurations={"3d_fullres": configuration}))
dataset = dict(labels={"background": 0, **{f"l{i}": i for i in range(1, classes)}}, channel_names={"0": "CT"})
z, y, x = np.ogrid[:planes, :273, :273]
single = sys.argv[-1] == "single"
logits = torch.empty((classes, planes, 273, 273), dtype=torch.float32 if single else torch.half)
for c in range(classes):
    noise = (z * 73 + y * 179 + x * 283 + c * 419) % 1009
    values = np.sin((z + y + x) * np.float32(0.02) + np.float32(c)) * 3 + noise.astype(np.float32) / 1009
    logits[c] = torch.from_numpy(values)
shape = (planes, 512, 512)
properties = dict(spacing=[1.5, 0.8, 0.8], shape_before_cropping=shape, bbox_used_for_cropping=[[0, n] for n in shape],
                  shape_after_cropping_and_before_resampling=shape)
file = sys.argv[3] if len(sys.argv) > 3 else ""
begun, processor = time.perf_counter(), time.process_time()
found = export(logits, plans, plans.get_configuration("3d_fullres"), plans.get_label_manager(dataset), properties,
       return_probabilities=file.endswith(".npz"), num_threads_torch=2)
if file.endswith(".npz"):
    found, probabilities = found
    np.savez_compressed(file, probabilities=probabilities)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
print(f"{time.perf_counter() - begun:.2f} s, processor time {time.process_time() - processor:.2f} s, peak {peak} MB, of which logits {logits.nbytes // 1_000_000} MB")
if file.endswith(".raw"):
    ours = np.fromfile(file, np.uint8).reshape(found.shape)
    print(f"equal labels: {np.mean(ours == found) * 100:.4f} %")
