#!/usr/bin/env python3
"""Convolutions of a default network by nnunet and by PyTorch in turn: seconds, and geometric means of ratios over the layers.

usage: python layers.py CONV_LAYERS_BINARY NET BATCH THREADS ROUNDS [SIZE]

NET: hippocampus (40×56×40) or default (128×128×128, or SIZE along each axis). PyTorch runs in both memory formats; its bf16
is that of its own kernels on tensors in bf16. Backward is both gradients, for the first layer of a network as well.
"""
import math
import os
import subprocess
import sys
import time

import torch

binary, net, batch, threads, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(threads)
server = subprocess.Popen(
    [binary, net, str(batch), *sys.argv[6:7]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    env={**os.environ, "THREADS": str(threads)})


def ask(line):
    server.stdin.write(line + "\n")
    server.stdin.flush()
    return server.stdout.readline().split()


layers = [ask("list")]
while line := server.stdout.readline().split():
    layers.append(line)


def theirs(layer, dtype, layout):
    """One run of PyTorch as a function that gives the seconds of both passes."""
    z, y, x, inputs, outputs, kernel, stride = map(int, layer)
    pad = (kernel - 1) // 2
    image = torch.rand(batch, inputs, z, y, x).to(dtype).to(memory_format=layout)
    weight = torch.rand(outputs, inputs, kernel, kernel, kernel).to(dtype).to(memory_format=layout)
    gradient = torch.rand_like(torch.conv3d(image, weight, None, stride, pad))

    def forward():
        torch.conv3d(image, weight, None, stride, pad)

    def backward():
        torch.ops.aten.convolution_backward(
            gradient, image, weight, None, [stride] * 3, [pad] * 3, [1] * 3, False, [0] * 3, 1, [True, True, False])

    def seconds(what):
        begun = time.perf_counter()
        what()
        return time.perf_counter() - begun

    def run():
        with torch.inference_mode():
            # Not counted, as with nnunet: after a while without work, threads share a processor until the system has spread them.
            begun = time.perf_counter()
            while time.perf_counter() - begun < 0.15:
                forward()
                backward()
            return seconds(forward), seconds(backward)
    return run


def median(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last_3d}
ratios = {}
for number, layer in enumerate(layers):
    z, y, x, inputs, outputs, kernel, stride = layer
    print(f"{inputs}→{outputs}, {kernel}³/{stride}, {z}×{y}×{x}, seconds forward and backward:")
    for precision, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        peers = {name: theirs(layer, dtype, layout) for name, layout in layouts.items()}
        taken = {name: [] for name in ["nnunet", *peers]}
        for i in range(rounds + 1):
            # Threads of PyTorch go on waiting for work in a loop for a while, which takes a processor from the others.
            time.sleep(0.2)
            runs = {"nnunet": tuple(map(float, ask(f"{number} {precision}")))}
            runs |= {name: run() for name, run in peers.items()}
            # The first round allocates and compiles.
            if i > 0 or rounds == 0:
                for name, both in runs.items():
                    taken[name].append(both)
        seconds = {name: [median([both[i] for both in all_]) for i in (0, 1)] for name, all_ in taken.items()}
        text = "  ".join(f"{name} {f:.4f} {b:.4f}" for name, (f, b) in seconds.items())
        print(f"  {precision}: {text}", flush=True)
        for i, what in enumerate(("forward", "backward")):
            best = min(seconds[name][i] for name in layouts)
            ratios.setdefault((precision, what), []).append(best / seconds["nnunet"][i])
server.stdin.close()
server.wait()
print(f"{net}, batch {batch}, {threads} threads: the better of PyTorch's two layouts over nnunet, geometric means")
for (precision, what), values in ratios.items():
    def mean(chosen):
        chosen = list(chosen)
        return math.exp(sum(map(math.log, chosen)) / len(chosen))
    spatial = mean(value for value, layer in zip(values, layers) if layer[5] != "1")
    print(f"  {precision} {what}: {spatial:.2f} over 3³ kernels, {mean(values):.2f} over all {len(layers)} layers"
          f" (from {min(values):.2f} to {max(values):.2f})")
