"""Losses with gradients and optimiser steps as nnU-Net 2.8.1 and PyTorch compute them on the CPU.

Usage: python make.py > losses.json   (needs nnunetv2 and torch)
"""
import json

import numpy as np
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

SHAPE = (2, 2, 3, 2)  # batch, z, y, x
REGIONS = [[1, 2, 3], [2, 3], [3]]
IGNORE = 4


def numbers(array):
    return [float(f"{v:.7g}") for v in np.asarray(array, dtype=np.float64).ravel()]


def loss_case(name, regions, ignore, batch_dice, rng):
    channels = len(REGIONS) if regions else 4
    logits = torch.tensor(rng.normal(0, 2, (*SHAPE, channels)).astype(np.float32), requires_grad=True)
    labels = rng.integers(0, 5 if ignore else 4, SHAPE)
    dice = {"batch_dice": batch_dice, "smooth": 1e-5, "ddp": False}
    if regions:
        masks = [np.isin(labels, region) for region in REGIONS] + ([labels == IGNORE] if ignore else [])
        target = torch.tensor(np.stack(masks, 1))
        loss = DC_and_BCE_loss({}, {**dice, "do_bg": True}, use_ignore_label=ignore,
                               dice_class=MemoryEfficientSoftDiceLoss)
    else:
        target = torch.tensor(labels[:, None])
        loss = DC_and_CE_loss({**dice, "do_bg": False}, {}, weight_ce=1, weight_dice=1,
                              ignore_label=IGNORE if ignore else None, dice_class=MemoryEfficientSoftDiceLoss)
    value = loss(torch.movedim(logits, -1, 1), target)
    value.backward()
    return {
        "name": name, "regions": regions, "ignore": ignore, "batch_dice": batch_dice, "channels": channels,
        "labels": labels.ravel().tolist(), "logits": numbers(logits.detach()), "value": value.item(),
        "gradient": numbers(logits.grad),
    }


def sgd_case(rng):
    """Three parameters: large gradients that are clipped, small ones, and one that never has any."""
    weights = [torch.nn.Parameter(torch.tensor(rng.normal(0, 1, 4).astype(np.float32))) for _ in range(3)]
    start = [numbers(w.detach()) for w in weights]
    optimiser = torch.optim.SGD(weights, 0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    steps = []
    for scale in (30.0, 1.0, 3.0):
        gradients = [rng.normal(0, scale, 4).astype(np.float32) for _ in range(2)]
        for weight, gradient in zip(weights, gradients):
            weight.grad = torch.tensor(gradient)
        norm = torch.nn.utils.clip_grad_norm_(weights, 12)
        optimiser.step()
        steps.append({"gradients": [numbers(g) for g in gradients], "norm": norm.item(),
                      "weights": [numbers(w.detach()) for w in weights]})
    return {"start": start, "steps": steps}


def main():
    rng = np.random.default_rng(20)
    losses = [
        loss_case(f"{'regions' if regions else 'labels'}, ignore {ignore}, batch Dice {batch}", regions, ignore, batch, rng)
        for regions in (False, True) for ignore in (False, True) for batch in (False, True)
    ]
    print(json.dumps({"shape": SHAPE, "regions": REGIONS, "ignore": IGNORE, "losses": losses, "sgd": sgd_case(rng)}))


main()
