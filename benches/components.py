#!/usr/bin/env python3
"""cc3d on a drawn label map.

usage: python components.py FILE.npz [REPEATS]     (needs `pip install connected-components-3d scipy`)
Draws FILE.npz if it is not there (400 × 512 × 512, five labels as blobs), then prints seconds and components per repeat.
"""
import os
import sys
import time

import cc3d
import numpy as np
from scipy.ndimage import gaussian_filter, zoom

path, repeats = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
if not os.path.exists(path):
    rng = np.random.default_rng(0)
    small = np.stack([gaussian_filter(rng.normal(size=(100, 128, 128)), 2.5) for _ in range(6)])
    small[0] += 0.02
    labels = zoom(small.argmax(0).astype(np.int16), 4, order=0)
    np.savez_compressed(path, labels=labels)
labels = np.ascontiguousarray(np.load(path)["labels"])
for _ in range(repeats):
    begun = time.perf_counter()
    found, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    print(f"{time.perf_counter() - begun:.3f} s, {count} components", flush=True)
