"""Losses, optimisers and schedules of nnU-Net 2.8.1's trainer variants, as nnU-Net and PyTorch compute them on the CPU.

Usage: python make_variants.py > variants.json   (needs nnunetv2 and torch)
"""
import json
import warnings

import numpy as np
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss, DC_and_topk_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss, TopKLoss
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.lr_scheduler.warmup import Lin_incr_LRScheduler, PolyLRScheduler_offset
from nnunetv2.utilities.helpers import softmax_helper_dim1
from torch.optim.lr_scheduler import CosineAnnealingLR

warnings.simplefilter("ignore")
SHAPE = (2, 3, 4, 3)  # batch, z, y, x
REGIONS = [[1, 2, 3], [2, 3], [3]]
IGNORE = 4


def numbers(array):
    return [float(f"{v:.7g}") for v in np.asarray(array, dtype=np.float64).ravel()]


class DiceFocal(torch.nn.Module):
    """Soft Dice plus focal cross-entropy with gamma 2, the mean over valid voxels."""
    def __init__(self, batch_dice, ignore):
        super().__init__()
        self.ignore = ignore
        self.dice = MemoryEfficientSoftDiceLoss(softmax_helper_dim1, batch_dice, do_bg=False, smooth=1e-5, ddp=False)

    def forward(self, x, y):
        mask = y != self.ignore
        ce = torch.nn.functional.cross_entropy(x, y[:, 0].long(), ignore_index=self.ignore, reduction="none")
        focal = (1 - torch.exp(-ce)) ** 2 * ce
        return focal[mask[:, 0]].mean() + self.dice(x, torch.where(mask, y, 0), loss_mask=mask)


def make_loss(name, regions, ignore, batch_dice):
    dice = {"batch_dice": batch_dice, "smooth": 0.0 if name == "no_smooth" else 1e-5, "ddp": False}
    index = IGNORE if ignore else -100
    efficient = {"dice_class": MemoryEfficientSoftDiceLoss}
    if name == "no_smooth" and regions:
        return DC_and_BCE_loss({}, {**dice, "do_bg": True}, use_ignore_label=ignore, **efficient)
    if name == "no_smooth":
        return DC_and_CE_loss({**dice, "do_bg": False}, {}, ignore_label=IGNORE if ignore else None, **efficient)
    if name == "dice":
        return MemoryEfficientSoftDiceLoss(torch.sigmoid if regions else softmax_helper_dim1, do_bg=regions, **dice)
    return {
        "ce": lambda: RobustCrossEntropyLoss(ignore_index=index),
        "top_k": lambda: TopKLoss(ignore_index=index, k=10),
        "top_k_smoothed": lambda: TopKLoss(ignore_index=index, k=10, label_smoothing=0.1),
        "dice_top_k": lambda: DC_and_topk_loss({**dice, "do_bg": False}, {"k": 10, "label_smoothing": 0.0},
                                               ignore_label=IGNORE if ignore else None),
        "dice_focal": lambda: DiceFocal(batch_dice, index),
    }[name]()


def loss_case(name, regions, ignore, batch_dice, rng):
    channels = len(REGIONS) if regions else 4
    logits = torch.tensor(rng.normal(0, 2, (*SHAPE, channels)).astype(np.float32), requires_grad=True)
    labels = rng.integers(0, 5 if ignore else 4, SHAPE)
    labels[labels == 3] = 0 if name == "no_smooth" and not regions else 3  # a class that is absent
    if regions:
        masks = [np.isin(labels, region) for region in REGIONS] + ([labels == IGNORE] if ignore else [])
        target = torch.tensor(np.stack(masks, 1))
    else:
        target = torch.tensor(labels[:, None])
    value = make_loss(name, regions, ignore, batch_dice)(torch.movedim(logits, -1, 1), target)
    value.backward()
    return {
        "name": name, "regions": regions, "ignore": ignore, "batch_dice": batch_dice, "channels": channels,
        "labels": labels.ravel().tolist(), "logits": numbers(logits.detach()), "value": value.item(),
        "gradient": numbers(logits.grad),
    }


def loss_cases(rng):
    for name in ("ce", "top_k", "top_k_smoothed"):
        for ignore in (False, True):
            yield loss_case(name, False, ignore, False, rng)
    for name in ("no_smooth", "dice_top_k", "dice_focal"):
        for ignore in (False, True):
            for batch_dice in (False, True):
                yield loss_case(name, False, ignore, batch_dice, rng)
    for batch_dice in (False, True):
        yield loss_case("dice", False, False, batch_dice, rng)
        yield loss_case("dice", True, False, batch_dice, rng)
        yield loss_case("no_smooth", True, False, batch_dice, rng)
        yield loss_case("no_smooth", True, True, batch_dice, rng)


def optimiser_case(name, rng):
    """Three parameters: large gradients that are clipped, small ones, and one that never has any."""
    weights = [torch.nn.Parameter(torch.tensor(rng.normal(0, 1, 4).astype(np.float32))) for _ in range(3)]
    start = [numbers(w.detach()) for w in weights]
    optimiser = {
        "adamw_amsgrad": lambda: torch.optim.AdamW(weights, lr=1e-2, weight_decay=3e-2, amsgrad=True),
        "adam": lambda: torch.optim.Adam(weights, lr=1e-2, weight_decay=3e-2),
        "adamw": lambda: torch.optim.AdamW(weights, lr=3e-4, weight_decay=0.05, betas=(0.9, 0.98)),
    }[name]()
    steps = []
    for scale in (30.0, 1.0, 3.0, 0.01, 5.0):
        gradients = [rng.normal(0, scale, 4).astype(np.float32) for _ in range(2)]
        for weight, gradient in zip(weights, gradients):
            weight.grad = torch.tensor(gradient)
        norm = torch.nn.utils.clip_grad_norm_(weights, 12)
        optimiser.step()
        steps.append({"gradients": [numbers(g) for g in gradients], "norm": norm.item(),
                      "weights": [numbers(w.detach()) for w in weights]})
    return {"name": name, "start": start, "steps": steps}


def schedules():
    epochs = [0, 1, 49, 50, 51, 100, 500, 750, 998, 999]

    def rates(make):
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
        chosen = {}
        for epoch in epochs:
            make(optimiser, epoch).step(epoch)
            chosen[epoch] = optimiser.param_groups[0]["lr"]
        return chosen

    poly = PolyLRScheduler(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01), 0.01, 1000)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
    cosine = CosineAnnealingLR(optimiser, T_max=1000)
    cosine_rates = {}
    for epoch in epochs:
        cosine.step(epoch)
        cosine_rates[epoch] = optimiser.param_groups[0]["lr"]
    return {
        "poly": rates(lambda o, e: PolyLRScheduler(o, 0.01, 1000)),
        "cosine": cosine_rates,
        "warm-up": rates(lambda o, e: Lin_incr_LRScheduler(o, 0.01, 50) if e < 50
                         else PolyLRScheduler_offset(o, 0.01, 1000, 50)),
    }


def main():
    rng = np.random.default_rng(21)
    print(json.dumps({
        "shape": SHAPE, "regions": REGIONS, "ignore": IGNORE, "losses": list(loss_cases(rng)),
        "optimisers": [optimiser_case(name, rng) for name in ("adamw_amsgrad", "adam", "adamw")],
        "schedules": schedules(),
    }))


main()
