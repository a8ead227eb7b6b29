#!/usr/bin/env python3
"""What nnU-Net's networks give in PyTorch: writes the other files of this folder.

usage: python make.py DATA       (needs `pip install nnunetv2==2.8.1 torch==2.15.0`)

networks.json: small networks with set weights, in f64. Value j of distinct parameter k is 0.5 sin(0.7 j + 0.3 k), plus 1
for norm weights; the input is cos(0.9 index). For each network: names of the state dictionary and of its distinct
parameters, in order, and the gradients of sum over outputs o of sum(output_o * sin(0.37 index + o)), each as its scalar
product with cos(0.5 index) and its 2-norm.

models.json: raw outputs, in f32, of the models below DATA/golden/models and DATA/models for an input that is drawn by
a congruential generator (see `drawn`). For each output: shape, sum, sum of squares, and every n-th value.

plain2d.pth: the small plain 2-D network above as a checkpoint such as nnU-Net's trainer writes.
kinds.pth: tensors of several types and layouts, value i of each is i / 4.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

HERE = Path(__file__).parent
VALUES = 48


def distinct(network):
    """Parameters in the order of the optimiser, each once."""
    return [(name, p) for name, p in network.named_parameters()]


def small(kind, dims):
    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    kernels = [(3, 3)] * 3 if dims == 2 else [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    strides = [(1, 1), (2, 2), (2, 2)] if dims == 2 else [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
    common = dict(input_channels=1, n_stages=3, features_per_stage=[2, 4, 6], conv_op=conv, kernel_sizes=kernels,
                  strides=strides, num_classes=2, conv_bias=True, norm_op=norm,
                  norm_op_kwargs=dict(eps=1e-5, affine=True), nonlin=nn.LeakyReLU, deep_supervision=True)
    if kind == "plain":
        return PlainConvUNet(n_conv_per_stage=[2] * 3, n_conv_per_stage_decoder=[2] * 2, **common)
    return ResidualEncoderUNet(n_blocks_per_stage=[1, 2, 1], n_conv_per_stage_decoder=[1] * 2, **common)


def filled(kind, dims):
    network = small(kind, dims).double()
    norms = {id(m.weight) for m in network.modules() if isinstance(m, (nn.InstanceNorm2d, nn.InstanceNorm3d))}
    for k, (_, p) in enumerate(distinct(network)):
        j = torch.arange(p.numel(), dtype=torch.float64)
        p.data = (0.5 * torch.sin(0.7 * j + 0.3 * k) + (1.0 if id(p) in norms else 0.0)).reshape(p.shape)
    return network


def network_golden(kind, dims):
    network = filled(kind, dims)
    shape = (1, 1, 8, 8) if dims == 2 else (1, 1, 4, 8, 8)
    n = torch.Size(shape).numel()
    x = torch.cos(0.9 * torch.arange(n, dtype=torch.float64)).reshape(shape)
    loss = 0
    for o, y in enumerate(network(x)):
        loss = loss + (y * torch.sin(0.37 * torch.arange(y.numel(), dtype=torch.float64) + o).reshape(y.shape)).sum()
    loss.backward()
    gradients = []
    for _, p in distinct(network):
        g = p.grad.flatten()
        gradients.append([round(torch.dot(g, torch.cos(0.5 * torch.arange(g.numel(), dtype=torch.float64))).item(), 9),
                          round(g.norm().item(), 9)])
    return dict(keys=list(network.state_dict()), parameters=[name for name, _ in distinct(network)],
                loss=round(loss.item(), 9), gradients=gradients)


def drawn(shape):
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.int64)
    for _ in range(2):
        i = (i * 1664525 + 1013904223) % 2**32
    return (i.double() / 2**31 - 1).float().reshape(shape)


def model_golden(folder, checkpoint):
    saved = torch.load(checkpoint, map_location="cpu", weights_only=False)
    name = saved["init_args"]["configuration"]
    plans = json.loads((folder / "plans.json").read_text())
    config = plans["configurations"][name]
    arch = config["architecture"]
    weights = saved["network_weights"]
    first = next(v for k, v in weights.items() if k.endswith("conv.weight"))
    channels, heads = first.shape[1], weights["decoder.seg_layers.0.bias"].shape[0]
    network = get_network_from_plans(arch["network_class_name"], arch["arch_kwargs"], arch["_kw_requires_import"],
                                     channels, heads, allow_init=False, deep_supervision=True)
    network.load_state_dict(weights)
    network.eval()
    patch = config["patch_size"]
    with torch.no_grad():
        outputs = network(drawn((2, channels, *patch)))
    listed = []
    for y in outputs:
        flat = y.flatten()
        step = max(1, flat.numel() // VALUES) | 1  # odd, so that all positions of a row are met
        listed.append(dict(shape=list(y.shape), sum=round(flat.double().sum().item(), 4),
                           squares=round(flat.double().square().sum().item(), 4), step=step,
                           values=[float(f"{v:.7g}") for v in flat[::step].tolist()]))
    axes = saved["inference_allowed_mirroring_axes"]
    return dict(configuration=name, trainer=saved["trainer_name"], mirror_axes=None if axes is None else list(axes),
                channels=channels, patch=patch, outputs=listed)


def checkpoints():
    network = filled("plain", 2).float()
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, weight_decay=3e-5, nesterov=True)
    shared = {"order": [-1, -2**40, 2**70]}
    torch.save(dict(
        network_weights=network.state_dict(), optimizer_state=optimiser.state_dict(), grad_scaler_state=None,
        logging=dict(mean_fg_dice=[np.float32(0.5)], lrs=[0.01]), _best_ema=np.float32(0.5), current_epoch=1,
        init_args=dict(plans=shared, again=shared, configuration="2d", fold=0, device=torch.device("cpu")),
        trainer_name="nnUNetTrainer", inference_allowed_mirroring_axes=(0, 1)), HERE / "plain2d.pth")
    quarters = torch.arange(6, dtype=torch.float64) / 4
    transposed = quarters.float().reshape(2, 3).t().contiguous().t()
    torch.save(dict(network_weights=dict(
        half=quarters.half(), bfloat=quarters.bfloat16(), double=quarters, transposed=transposed,
        part=torch.cat([torch.ones(4), quarters.float()])[4:], parameter=nn.Parameter(quarters.float()))),
        HERE / "kinds.pth")
    adam()


def adam():
    # Two weights, three steps of AMSGrad with gradients of 1, 2 and 1, and one weight that never had a gradient.
    weights = {f"decoder.seg_layers.{i}.weight": nn.Parameter(torch.ones(2, 1 + i)) for i in range(3)}
    optimiser = torch.optim.AdamW(weights.values(), 0.01, weight_decay=3e-5, amsgrad=True)
    for gradient in (1.0, 2.0, 1.0):
        for weight in list(weights.values())[:2]:
            weight.grad = torch.full_like(weight, gradient)
        optimiser.step()
    torch.save(dict(network_weights=weights, optimizer_state=optimiser.state_dict(), trainer_name="nnUNetTrainerAdam",
                    init_args=dict(configuration="2d")), HERE / "adam.pth")


def main():
    data = Path(sys.argv[1])
    torch.set_num_threads(1)
    networks = {f"{kind}{dims}d": network_golden(kind, dims) for kind in ("plain", "residual") for dims in (2, 3)}
    (HERE / "networks.json").write_text(json.dumps(networks, indent=0) + "\n")
    checkpoints()
    models = {}
    for checkpoint in sorted([*data.glob("golden/models/*/model/fold_*/checkpoint_final.pth"),
                              *data.glob("models/*/*/fold_*/checkpoint_final.pth")]):
        models[str(checkpoint.relative_to(data))] = model_golden(checkpoint.parent.parent, checkpoint)
    (HERE / "models.json").write_text(json.dumps(models, indent=0) + "\n")


main()
