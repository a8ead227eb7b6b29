"""Makes `b2nd/`: cases as nnU-Net 2.8.1 saves them, and as its earlier versions did (Zstandard).

usage: make_b2nd.py     (needs nnunetv2==2.8.1)
"""
import os

import blosc2
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "b2nd")
SHAPE = (2, 9, 14, 11)


def index():
    c, z, y, x = np.indices(SHAPE)
    return c * 31 + z * 17 + y * 5 + x * 3


def properties(labels):
    rows = {label: np.argwhere(labels == label)[::40] for label in (1, 2)}
    both = np.argwhere(labels > 0)[:5]
    return {
        "sitk_stuff": {"spacing": (0.5, 0.75, 2.5), "origin": (1.0, -2.0, 3.5),
                       "direction": (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)},
        "spacing": [2.5, 0.75, 0.5],
        "shape_before_cropping": (10, 20, 30),
        "bbox_used_for_cropping": [[0, 9], [2, 16], [np.int64(3), np.int64(14)]],
        "shape_after_cropping_and_before_resampling": (9, 14, 11),
        "class_locations": {**rows, (1, 2): both, 3: []},
    }


def main():
    os.makedirs(HERE, exist_ok=True)
    i = index()
    labels = (i[:1] % 3).astype(np.int8)
    noise = ((i * 1_103_515_245 + 12_345) % 2**31).astype(np.uint32).view(np.float32).copy()
    images = {
        "whole_numbers": (i % 23).astype(np.float32),
        "smooth": np.sqrt(i.astype(np.float64) + 1).astype(np.float32),
        "noise": noise,
        "empty": np.zeros(SHAPE, np.float32),
    }
    grid = {"chunks": (1, 5, 8, 8), "blocks": (1, 3, 4, 8)}
    grid |= {f"{key}_seg": value for key, value in grid.items()}
    for name, image in images.items():
        nnUNetDatasetBlosc2.save_case(image, labels, properties(labels), f"{HERE}/{name}", **grid)
    wide = (i[:1] % 3 * 200).astype(np.int16)
    nnUNetDatasetBlosc2.save_case(images["smooth"], wide, properties(labels), f"{HERE}/zstandard", **grid,
                                  codec=blosc2.Codec.ZSTD, clevel=8, filters=[blosc2.Filter.SHUFFLE])
    # Many chunks, so that their table is compressed.
    nnUNetDatasetBlosc2.save_case(images["smooth"], labels, properties(labels), f"{HERE}/many", chunks=(1, 1, 2, 2),
                                  blocks=(1, 1, 2, 2), chunks_seg=(1, 2, 2, 11), blocks_seg=(1, 1, 2, 11))


if __name__ == "__main__":
    main()
