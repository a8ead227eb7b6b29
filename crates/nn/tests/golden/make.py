#!/usr/bin/env python3
"""PyTorch's values and gradients for small operations: writes operations.json beside this script.

usage: python make.py            (needs `pip install torch==2.15.0`)

Value j of tensor k is sin(0.7 j + 1.3 k); gradients are those of sum(y * tensor 9).
"""
import json
from pathlib import Path
import torch
import torch.nn.functional as F


def fill(k, *shape):
    n = torch.Size(shape).numel()
    return torch.sin(0.7 * torch.arange(n, dtype=torch.float64) + 1.3 * k).reshape(shape).requires_grad_()


def backward(y):
    (y * fill(9, *y.shape).detach()).sum().backward()


def flat(t):
    return [round(v, 9) for v in t.detach().flatten().tolist()]


out = {}
for name, kernel, stride in (("conv", (3, 3, 3), 1), ("conv_strided", (3, 3, 3), 2), ("conv_flat", (1, 3, 3), (1, 2, 2))):
    x, w, b = fill(0, 2, 3, 4, 5, 6), fill(1, 4, 3, *kernel), fill(2, 4)
    y = F.conv3d(x, w, b, stride, tuple((k - 1) // 2 for k in kernel))
    backward(y)
    out[name] = dict(y=flat(y), dx=flat(x.grad), dw=flat(w.grad), db=flat(b.grad))
x, w, b, gamma, beta = fill(0, 2, 3, 4, 5, 6), fill(1, 4, 3, 3, 3, 3), fill(2, 4), fill(3, 4), fill(4, 4)
y = F.leaky_relu(F.instance_norm(F.conv3d(x, w, b, 1, 1), weight=gamma, bias=beta, eps=1e-5), 0.01)
backward(y)
out["unit"] = dict(y=flat(y), dx=flat(x.grad), dw=flat(w.grad), dgamma=flat(gamma.grad), dbeta=flat(beta.grad))
low, skip, w, b = fill(0, 2, 3, 2, 3, 2), fill(5, 2, 2, 2, 6, 4), fill(1, 3, 4, 1, 2, 2), fill(2, 4)
y = torch.cat([F.conv_transpose3d(low, w, b, (1, 2, 2)), skip], 1)
backward(y)
out["up"] = dict(y=flat(y), dlow=flat(low.grad), dskip=flat(skip.grad), dw=flat(w.grad), db=flat(b.grad))
(Path(__file__).parent / "operations.json").write_text(json.dumps(out))
