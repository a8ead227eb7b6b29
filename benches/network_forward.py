#!/usr/bin/env python3
"""Forward passes of the default 3-D network by a peer, with the weights that `network_forward` has written.

usage: python network_forward.py PEER WEIGHTS.safetensors SIZE RUNS [THREADS]

PEER: pytorch (as nnU-Net runs it), pytorch-channels-last, pytorch-bf16, onnxruntime, openvino, openvino-bf16, or export,
which writes WEIGHTS.onnx for the last ones. Prints seconds per pass, one a line.
"""
import os
import resource
import sys
import time

import numpy as np

peer, weights, size, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
threads = int(sys.argv[5]) if len(sys.argv) > 5 else os.cpu_count()
image = (((np.arange(size**3) * 2654435761) % 1009) / 504.5 - 1).astype(np.float32).reshape(1, 1, size, size, size)


def network():
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from safetensors.torch import load_file
    net = PlainConvUNet(
        1, 6, [32, 64, 128, 256, 320, 320], torch.nn.Conv3d, 3, [1] + [2] * 5, 2, 3, 2, True, torch.nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True}, deep_supervision=False)
    own = load_file(weights)
    state = net.state_dict()
    for name in state:
        # The dictionary has some weights under several names.
        short = name.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
        short = short.replace("decoder.encoder.", "encoder.")
        state[name] = own[short]
    net.load_state_dict(state)
    return net.eval()


def pytorch():
    import torch
    torch.set_num_threads(threads)
    net, x = network(), torch.from_numpy(image)
    if peer == "pytorch-channels-last":
        net, x = net.to(memory_format=torch.channels_last_3d), x.to(memory_format=torch.channels_last_3d)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=peer == "pytorch-bf16"):
            return net(x).float().numpy()
    return run


def onnxruntime():
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(weights + ".onnx", options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": image})[0]


def openvino():
    import openvino
    precision = "bf16" if peer.endswith("bf16") else "f32"
    model = openvino.Core().compile_model(
        weights + ".onnx", "CPU",
        {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    return lambda: next(iter(model([image]).values()))


def export():
    import torch
    torch.onnx.export(
        network(), torch.from_numpy(image), weights + ".onnx", input_names=["x"], output_names=["y"], dynamo=False)


if peer == "export":
    export()
    sys.exit()
run = {"pytorch": pytorch, "onnxruntime": onnxruntime, "openvino": openvino}[peer.split("-")[0]]()
for i in range(runs + 1):
    begun = time.perf_counter()
    y = run()
    # The first pass compiles and does not count.
    if i > 0:
        print(f"{time.perf_counter() - begun:.4f}", flush=True)
    else:
        print("logits", y[0, :, 0, 0, 0], file=sys.stderr)
print("peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, "MB", file=sys.stderr)
