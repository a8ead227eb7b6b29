#!/usr/bin/env python3
"""What the building blocks give in PyTorch: writes the other files of this folder.

usage: python make.py       (needs `pip install torch==2.15.0 dynamic-network-architectures==0.4.4`)

Everything is in f64. A tensor named NAME has the value 0.5 sin(0.7 j + 0.3 k) at index j, where k is the sum of the bytes
of NAME modulo 101; scales of norms and running variances have 1 more. Inputs are cos(0.9 index + k), where k is the number
of the input. The gradients are those of sum(output * sin(0.37 index)). Of each tensor (outputs, gradients, running
statistics after a batch in training) six numbers are kept: the sum, the scalar products with cos(0.5 index) and
sin(0.13 index), and the first, middle and last value.

Weights have PyTorch's shapes and tensors PyTorch's order of axes. Each case is written from its paper with torch.nn.functional,
but for network_batch_norm_*, which are nnU-Net's networks with batch norms (nnUNetTrainerBN); batch_norm.pth is the checkpoint
of the plain one, and network_batch_norm_evaluation what it then gives in evaluation.
"""
import json
from pathlib import Path

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
HERE = Path(__file__).parent


class Store:
    """Weights by name, made when they are asked for."""

    def __init__(self):
        self.weights, self.buffers = {}, {}

    def __call__(self, name, *shape):
        if name not in self.weights:
            self.weights[name] = value(name, shape).requires_grad_()
        return self.weights[name]

    def buffer(self, name, *shape):
        if name not in self.buffers:
            self.buffers[name] = value(name, shape)
        return self.buffers[name]


def value(name, shape):
    k = sum(name.encode()) % 101
    j = torch.arange(torch.Size(shape).numel())
    one = 1.0 if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "running_var")) else 0.0
    return (0.5 * torch.sin(0.7 * j + 0.3 * k) + one).reshape(shape)


def wave(shape, k=0):
    j = torch.arange(torch.Size(shape).numel())
    return torch.cos(0.9 * j + k).reshape(shape).requires_grad_()


def digest(t):
    v = t.detach().flatten()
    j = torch.arange(v.numel())
    numbers = [v.sum(), (v * torch.cos(0.5 * j)).sum(), (v * torch.sin(0.13 * j)).sum(), v[0], v[v.numel() // 2], v[-1]]
    return [float(f"{float(n):.9g}") for n in numbers]


class Net:
    """The parts of a style, as functions of named weights."""

    def __init__(self, dims=2, norm="instance", act="leaky", groups=2, se=None, training=True):
        self.w, self.dims, self.kind, self.act_kind = Store(), dims, norm, act
        self.groups, self.se_ratio, self.training = groups, se, training
        self.conv_fn = F.conv2d if dims == 2 else F.conv3d
        self.up_fn = F.conv_transpose2d if dims == 2 else F.conv_transpose3d

    def size(self, n):
        return (n,) * self.dims

    def conv(self, x, name, outputs, k=3, stride=1, dilation=1, bias=True, padding=None, prefix=".conv"):
        w = self.w(f"{name}{prefix}.weight", outputs, x.shape[1], *self.size(k))
        b = self.w(f"{name}{prefix}.bias", outputs) if bias else None
        padding = dilation * (k - 1) // 2 if padding is None else padding
        return self.conv_fn(x, w, b, stride=stride, padding=padding, dilation=dilation)

    def norm(self, x, name):
        c = x.shape[1]
        if self.kind is None:
            return x
        g, b = self.w(f"{name}.weight", c), self.w(f"{name}.bias", c)
        shape = (1, c) + (1,) * self.dims
        if self.kind == "instance":
            return F.instance_norm(x, weight=g, bias=b, eps=1e-5)
        if self.kind == "batch":
            mean, var = self.w.buffer(f"{name}.running_mean", c), self.w.buffer(f"{name}.running_var", c)
            return F.batch_norm(x, mean, var, g, b, training=self.training, momentum=0.1, eps=1e-5)
        if self.kind == "group":
            return F.group_norm(x, self.groups, g, b, eps=1e-5)
        axes = tuple(range(2, 2 + self.dims))
        nu2 = (x ** 2).mean(dim=axes, keepdim=True)
        return x * torch.rsqrt(nu2 + 1e-6) * g.reshape(shape) + b.reshape(shape)

    def act(self, x, name):
        shape = (1, x.shape[1]) + (1,) * self.dims
        if self.act_kind == "leaky":
            return F.leaky_relu(x, 0.01)
        if self.act_kind == "tlu":
            return torch.maximum(x, self.w(f"{name}.tau", x.shape[1]).reshape(shape))
        if self.act_kind == "prelu":
            return F.prelu(x, self.w(f"{name}.weight", x.shape[1]))
        return {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}[self.act_kind](x)

    def unit(self, x, name, outputs, k=3, stride=1, dilation=1, act=True, bias=True, padding=None):
        x = self.norm(self.conv(x, name, outputs, k, stride, dilation, bias, padding), f"{name}.norm")
        return self.act(x, f"{name}.nonlin") if act else x

    def se(self, x, name):
        if self.se_ratio is None:
            return x
        return self.squeeze(x, f"{name}.squeeze_excitation")

    def squeeze(self, x, name):
        between = max(x.shape[1] // (self.se_ratio or 2), 1)
        mean = x.mean(dim=tuple(range(2, 2 + self.dims)), keepdim=True)
        hidden = F.relu(self.conv(mean, name, between, 1, prefix=".fc1"))
        return x * torch.sigmoid(self.conv(hidden, name, x.shape[1], 1, prefix=".fc2"))

    def shortcut(self, x, name, outputs, stride):
        pools = stride != 1
        if pools:
            x = (F.avg_pool2d if self.dims == 2 else F.avg_pool3d)(x, stride)
        if x.shape[1] != outputs:
            x = self.unit(x, f"{name}.skip.{int(pools)}", outputs, 1, act=False, bias=False)
        return x

    def residual(self, x, name, outputs, stride=1, dilation=1):
        main = self.unit(x, f"{name}.conv1", outputs, 3, stride, dilation)
        main = self.se(self.unit(main, f"{name}.conv2", outputs, 3, 1, dilation, act=False), name)
        return self.act(main + self.shortcut(x, name, outputs, stride), f"{name}.nonlin2")

    def bottleneck(self, x, name, outputs, stride=1, dilation=1):
        narrow = -(-outputs // 4)
        main = self.unit(x, f"{name}.conv1", narrow, 1)
        main = self.unit(main, f"{name}.conv2", narrow, 3, stride, dilation)
        main = self.se(self.unit(main, f"{name}.conv3", outputs, 1, act=False), name)
        return self.act(main + self.shortcut(x, name, outputs, stride), f"{name}.nonlin3")

    def preactivation(self, x, name, outputs, stride=1, first=False):
        main = x
        for number, s in ((1, stride), (2, 1)):
            if not (first and number == 1):
                main = self.act(self.norm(main, f"{name}.norm{number}"), f"{name}.nonlin{number}")
            main = self.conv(main, f"{name}.conv{number}", outputs, 3, s)
        main = self.se(main, name)
        if x.shape[1] != outputs or stride != 1:
            x = self.conv(x, f"{name}.skip", outputs, 1, stride)
        return main + x

    def dense(self, x, name, outputs, count, growth):
        seen = x
        for layer in range(count):
            n = f"{name}.layers.{layer}"
            seen = torch.cat([seen, self.conv(self.act(self.norm(seen, f"{n}.norm"), f"{n}.nonlin"), n, growth)], 1)
        n = f"{name}.transition"
        return self.se(self.conv(self.act(self.norm(seen, f"{n}.norm"), f"{n}.nonlin"), n, outputs, 1), name)

    def vnet(self, x, name, outputs, count, k=3):
        main = x
        for number in range(count):
            main = self.unit(main, f"{name}.convs.{number}", outputs, k, act=number + 1 < count)
        main = self.se(main, name)
        if x.shape[1] != outputs:
            x = self.conv(x, f"{name}.skip", outputs, 1, bias=False)
        return self.act(main + x, f"{name}.nonlin")

    def resize(self, x, size):
        mode = "bilinear" if self.dims == 2 else "trilinear"
        return F.interpolate(x, size=size, mode=mode, align_corners=False)

    def gate(self, skip, gating, name, stride=2):
        inner = max(skip.shape[1] // 2, 1)
        theta = self.conv(skip, name, inner, stride, stride, bias=False, padding=0, prefix=".theta")
        joined = F.relu(theta + self.conv(gating, name, inner, 1, prefix=".phi"))
        weight = torch.sigmoid(self.conv(joined, name, 1, 1, prefix=".psi"))
        return skip * self.resize(weight, skip.shape[2:])

    def aspp(self, x, name, channels, rates):
        seen = [self.unit(x, f"{name}.branches.0", channels, 1)]
        for number, rate in enumerate(rates):
            seen.append(self.unit(x, f"{name}.branches.{number + 1}", channels, 3, dilation=rate))
        mean = self.conv(x.mean(dim=tuple(range(2, 2 + self.dims)), keepdim=True), f"{name}.pooled", channels, 1)
        mean = self.act(mean, f"{name}.pooled.nonlin")
        seen.append(mean.expand(-1, -1, *x.shape[2:]))
        return self.unit(torch.cat(seen, 1), f"{name}.join", channels, 1)

    def up(self, x, name, outputs, stride=2, act=False):
        w = self.w(f"{name}.weight", x.shape[1], outputs, *self.size(stride))
        x = self.up_fn(x, w, self.w(f"{name}.bias", outputs), stride=stride)
        return self.act(self.norm(x, f"{name}.norm"), f"{name}.nonlin") if act else x


def case(net, inputs, forward):
    x = [wave(shape, k) for k, shape in enumerate(inputs)]
    y = forward(net, *x)
    j = torch.arange(y.numel()).reshape(y.shape)
    (y * torch.sin(0.37 * j)).sum().backward()
    found = {"shapes": [list(s) for s in inputs], "shape": list(y.shape), "output": digest(y)}
    found["inputs"] = [digest(t.grad) for t in x]
    found["weights"] = {name: digest(w.grad) for name, w in sorted(net.w.weights.items())}
    found["buffers"] = {name: digest(b) for name, b in sorted(net.w.buffers.items())}
    return found


def nested(net, x):
    """UNet++ of three stages with 2, 4 and 6 features and two convolutions per node, all heads one after the other."""
    f, nodes = [2, 4, 6], {}
    for i in range(3):
        for c in range(2):
            x = F.max_pool2d(x, 2) if i > 0 and c == 0 else x
            x = net.unit(x, f"encoder.stages.{i}.convs.{c}", f[i])
        nodes[i, 0] = x
    for j in (1, 2):
        for i in range(3 - j):
            name = f"decoder.nodes.{i}.{j}"
            y = torch.cat([nodes[i, c] for c in range(j)] + [net.up(nodes[i + 1, j - 1], f"{name}.up", f[i])], 1)
            for c in range(2):
                y = net.unit(y, f"{name}.convs.{c}", f[i])
            nodes[i, j] = y
    heads = [net.conv(nodes[0, j + 1], "decoder.seg_layers", 2, 1, prefix=f".{j}") for j in (1, 0)]
    return torch.cat([h.flatten() for h in heads])


def vnet(net, x):
    """V-Net of three stages with 2, 4 and 6 features and kernels of 3, full resolution first."""
    f, skips = [2, 4, 6], []
    for i in range(3):
        if i > 0:
            x = net.unit(x, f"encoder.down.{i}", f[i], 2, 2, padding=0)
        x = net.vnet(x, f"encoder.stages.{i}.block", f[i], i + 1)
        skips.append(x)
    heads = []
    for d, i in enumerate((1, 0)):
        up = net.up(x, f"decoder.transpconvs.{d}", f[i], act=True)
        x = net.vnet(torch.cat([up, skips[i]], 1), f"decoder.stages.{d}.block", 2 * f[i], i + 1)
        heads.append(net.conv(x, "decoder.seg_layers", 2, 1, prefix=f".{d}"))
    return torch.cat([h.flatten() for h in reversed(heads)])


def cases():
    small, volume = (2, 4, 6, 8), (2, 4, 4, 6, 4)
    for norm in ("instance", "batch", "group", "filter_response"):
        yield f"norm_{norm}", Net(norm=norm), [small], lambda n, x: n.norm(x, "a.norm")
        yield f"norm_{norm}_3d", Net(3, norm=norm), [volume], lambda n, x: n.norm(x, "a.norm")
    yield "norm_batch_evaluation", Net(norm="batch", training=False), [small], lambda n, x: n.norm(x, "a.norm")
    for act in ("leaky", "relu", "gelu", "silu", "prelu", "tlu"):
        yield f"activation_{act}", Net(act=act), [small], lambda n, x: n.act(x, "a.nonlin")
    for kind in ("residual", "bottleneck", "preactivation"):
        same = lambda n, x, kind=kind: getattr(n, kind)(x, "a", 4)
        other = lambda n, x, kind=kind: getattr(n, kind)(x, "a", 8, 2)
        yield kind, Net(norm="batch", act="relu"), [small], same
        yield f"{kind}_strided", Net(norm="group", act="silu", se=2), [small], other
        yield f"{kind}_3d", Net(3), [volume], other
    yield "preactivation_first", Net(), [small], lambda n, x: n.preactivation(x, "a", 8, 1, first=True)
    yield "residual_dilated", Net(norm="batch"), [small], lambda n, x: n.residual(x, "a", 4, 1, 2)
    yield "dense", Net(norm="batch", act="relu"), [small], lambda n, x: n.dense(x, "a", 6, 3, 2)
    yield "dense_3d", Net(3, act="gelu", se=2), [volume], lambda n, x: n.dense(x, "a", 6, 2, 3)
    yield "vnet", Net(3, norm=None, act="prelu"), [volume], lambda n, x: n.vnet(x, "a", 6, 2, 5)
    yield "vnet_same", Net(norm="filter_response", act="tlu"), [small], lambda n, x: n.vnet(x, "a", 4, 3)
    yield "squeeze_excitation", Net(se=2), [small], lambda n, x: n.squeeze(x, "a")
    yield "squeeze_excitation_3d", Net(3, se=4), [volume], lambda n, x: n.squeeze(x, "a")
    yield "attention_gate", Net(), [(2, 4, 6, 8), (2, 3, 3, 4)], lambda n, x, g: n.gate(x, g, "a")
    yield "attention_gate_3d", Net(3), [(1, 4, 4, 6, 4), (1, 6, 2, 3, 2)], lambda n, x, g: n.gate(x, g, "a")
    yield "aspp", Net(norm="batch", act="relu"), [(2, 4, 7, 9)], lambda n, x: n.aspp(x, "a", 3, [1, 2, 3])
    yield "aspp_3d", Net(3), [(1, 3, 4, 5, 6)], lambda n, x: n.aspp(x, "a", 2, [2, 4])
    for dilation in (2, 3):
        dilated = lambda n, x, dilation=dilation: n.conv(x, "a", 3, 3, dilation=dilation)
        yield f"dilated_{dilation}", Net(), [(2, 2, 7, 8)], dilated
        yield f"dilated_{dilation}_3d", Net(3), [(1, 2, 5, 6, 7)], dilated
    yield "max_pool", Net(), [(2, 3, 6, 9)], lambda n, x: F.max_pool2d(x, (2, 3))
    yield "max_pool_3d", Net(3), [(1, 2, 5, 4, 6)], lambda n, x: F.max_pool3d(x, (2, 1, 2))
    yield "resize", Net(), [(2, 3, 3, 5)], lambda n, x: n.resize(x, (6, 20))
    yield "resize_3d", Net(3), [(1, 2, 2, 3, 4)], lambda n, x: n.resize(x, (4, 3, 2))
    yield "up_unit", Net(norm="batch", act="prelu"), [(2, 4, 3, 4)], lambda n, x: n.up(x, "a", 2, act=True)
    yield "network_nested", Net(norm="batch", act="relu"), [(2, 1, 8, 8)], nested
    yield "network_vnet", Net(3, norm=None, act="prelu"), [(1, 1, 4, 8, 4)], vnet


class Whole:
    """A network of nnU-Net with named values instead of its own, and its weights as the cases have them."""

    def __init__(self, cls, **counts):
        self.network = cls(
            input_channels=1, n_stages=3, features_per_stage=[2, 4, 6], conv_op=nn.Conv2d, kernel_sizes=[3] * 3,
            strides=[1, 2, 2], num_classes=2, conv_bias=True, norm_op=nn.BatchNorm2d,
            norm_op_kwargs=dict(eps=1e-5, affine=True), nonlin=nn.LeakyReLU, deep_supervision=True, **counts).double()
        self.w = Store()
        for name, p in self.network.named_parameters():
            p.data = value(name, p.shape)
            self.w.weights[name] = p
        for name, b in self.network.named_buffers():
            if b.dtype == torch.float64:
                b.copy_(value(name, b.shape))
                self.w.buffers[name] = b

    def forward(self, x):
        return torch.cat([head.flatten() for head in self.network(x)])


def whole_networks(found):
    shape = [(2, 1, 8, 8)]
    plain = Whole(PlainConvUNet, n_conv_per_stage=[2] * 3, n_conv_per_stage_decoder=[2] * 2)
    residual = Whole(ResidualEncoderUNet, n_blocks_per_stage=[1, 2, 1], n_conv_per_stage_decoder=[1] * 2)
    for name, net in (("plain", plain), ("residual", residual)):
        found[f"network_batch_norm_{name}"] = case(net, shape, lambda n, x: n.forward(x))
    plain.network.eval()
    with torch.no_grad():
        found["network_batch_norm_evaluation"] = {"output": digest(plain.network(wave(shape[0]))[0])}
    for name, net in (("plain", plain), ("residual", residual)):
        found[f"network_batch_norm_{name}"]["keys"] = list(net.network.state_dict())
    torch.save(dict(
        network_weights=plain.network.float().state_dict(), trainer_name="nnUNetTrainerBN",
        init_args=dict(configuration="2d"), inference_allowed_mirroring_axes=(0, 1)), HERE / "batch_norm.pth")


if __name__ == "__main__":
    found = {name: case(net, inputs, forward) for name, net, inputs, forward in cases()}
    whole_networks(found)
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
    (HERE / "blocks.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
