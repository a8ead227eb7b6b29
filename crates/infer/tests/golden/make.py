"""Golden values of the sliding window, made by nnU-Net v2.8.1 (run with its Python): raw little-endian 32-bit floats.

The networks multiply the first channel by a pattern that is fixed within the patch, so that tiles and mirroring show.
Their arithmetic is exact, so results must agree to the bit.
"""
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

HERE = Path(__file__).parent
HEADS = 2


class Pattern(torch.nn.Module):
    def forward(self, x):
        grid = np.indices((HEADS, *x.shape[2:]))
        steps = [11, 3, 5, 7] if len(grid) == 4 else [11, 5, 7]
        pattern = sum(s * g for s, g in zip(steps, grid)) % 16 / 8 - 1
        return x[:, :1] * torch.from_numpy(pattern.astype(np.float32))[None]


def run(name, shape, patch, axes, gaussian):
    data = (np.arange(np.prod(shape)) * 37 % 61 / 16 - 2).astype(np.float32).reshape(1, *shape)
    predictor = nnUNetPredictor(use_gaussian=gaussian, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.network = Pattern()
    predictor.configuration_manager = SimpleNamespace(patch_size=patch)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=HEADS)
    predictor.allowed_mirroring_axes = axes
    with torch.no_grad():
        logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(data))
    assert logits.dtype == torch.half and logits.shape == (HEADS, *shape)
    logits.float().numpy().astype("<f4").tofile(HERE / f"{name}.f32")


run("window_3d", (11, 9, 14), (8, 12, 6), (0, 1, 2), True)
run("window_2d", (3, 13, 9), (8, 10), (0, 1), True)
run("window_flat", (10, 9, 8), (6, 6, 6), (1,), False)
