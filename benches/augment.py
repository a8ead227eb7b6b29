#!/usr/bin/env python3
"""Samples of the reference's default training augmentation on one thread, the counterpart of crates/augment/examples/sample_times.rs.

usage: python augment.py SAMPLES SEED Z Y X | Y X     prints the seconds of each sample, one a line
"""
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

torch.set_num_threads(1)
samples, seed = int(sys.argv[1]), int(sys.argv[2])
patch = [int(v) for v in sys.argv[3:]]
dim = len(patch)
limit = np.pi / 6 if dim == 3 else np.pi
rotation = (-limit, limit)
loaded = [int(v) for v in get_patch_size(patch, rotation, rotation, rotation, (0.85, 1.25))]
pipeline = nnUNetTrainer.get_training_transforms(
    patch, rotation, None, tuple(range(dim)), False, use_mask_for_norm=[False])
axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in ([1] * (3 - dim) + loaded)], indexing="ij", sparse=True)
image = (np.sin(0.07 * axes[0]) + np.cos(0.05 * axes[1]) + np.sin(0.11 * axes[2])).astype(np.float32)
labels = ((image > 0.5).astype(np.int16) + (image > 1.2)).reshape(1, *loaded)
image, labels = torch.from_numpy(image.reshape(1, *loaded)), torch.from_numpy(labels)
np.random.seed(seed)
torch.manual_seed(seed)
for _ in range(samples):
    # Transforms work in place, so each sample gets arrays of its own; that copy does not count.
    sample = dict(image=image.clone(), segmentation=labels.clone())
    begun = time.perf_counter()
    pipeline(**sample)
    print(f"{time.perf_counter() - begun:.6f}")
