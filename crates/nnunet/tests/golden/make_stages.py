"""Writes stages.json: labels that nnU-Net 2.8.1 hands to the next stage of a cascade, for small logits.

Run with the Python that has nnunetv2 installed:  python make_stages.py
"""
import json
from pathlib import Path

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape


def cases():
    for shape, target, spacing in (((4, 5, 6), (7, 9, 11), [1.5, 1, 1]), ((4, 5, 6), (7, 9, 11), [4, 1, 1]),
                                   ((3, 8, 8), (3, 13, 12), [1, 1, 1])):
        count = int(np.prod(shape))
        logits = np.stack([np.sin((0.31 + 0.23 * c) * np.arange(count)).reshape(shape) for c in range(3)]).astype(np.float32)
        resampled = resample_data_or_seg_to_shape(logits, target, spacing, spacing, is_seg=False, order=1, order_z=0,
                                                  force_separate_z=None)
        regions = np.zeros(target, dtype=int)
        for channel, label in zip(resampled, (1, 2, 3)):
            regions[channel > 0] = label
        yield dict(shape=shape, target=target, spacing=spacing, labels=np.argmax(resampled, 0).ravel().tolist(),
                   regions=regions.ravel().tolist())


Path(__file__).with_name("stages.json").write_text(json.dumps(list(cases()), separators=(",", ":")) + "\n")
