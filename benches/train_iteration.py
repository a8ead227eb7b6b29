#!/usr/bin/env python3
"""The same training iterations as src/bin/train_iteration.rs, by PyTorch and the reference's own network and loss.

usage: python train_iteration.py [ITERATIONS] [f32|bf16]     prints seconds per iteration, one a line

bf16 is PyTorch's autocast, in which nnU-Net itself does not train on a CPU.
"""
import sys
import time

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

network = PlainConvUNet(
    1, 4, [32, 64, 128, 256], torch.nn.Conv3d, 3, [1, 2, 2, 2], 2, 3, 2, True, torch.nn.InstanceNorm3d,
    {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True}, deep_supervision=True)
dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
loss = DeepSupervisionWrapper(
    DC_and_CE_loss(dice, {}, weight_ce=1, weight_dice=1, ignore_label=None, dice_class=MemoryEfficientSoftDiceLoss),
    [2 / 3, 1 / 3, 0.0])
optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
image = torch.randn(7, 1, 40, 56, 40)
targets = [torch.randint(0, 3, (7, 1, 40 // s, 56 // s, 40 // s)).float() for s in (1, 2, 4)]
cast = sys.argv[2:3] == ["bf16"]
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
    begun = time.perf_counter()
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        value = loss(network(image), targets)
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
    optimiser.step()
    print(f"{time.perf_counter() - begun:.3f}", flush=True)
