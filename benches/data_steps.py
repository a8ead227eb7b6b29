"""The steps before training, nnunet and its peers in turn; called by `benches/data_side_by_side`.

usage: data_steps.py draw FOLDER [CASES]              draws the inputs
       data_steps.py resample|labels|sitk FOLDER      times one step of a peer
       data_steps.py compare FOLDER ROUNDS [STEP…]    all of them in turn, with medians and ratios
"""
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

SHAPE, SPACING = (200, 512, 512), np.array([1.5, 0.8, 0.8])


def smooth(rng, shape, cells):
    """Noise that changes over `cells` cells per axis, without the time that a filter would take."""
    from scipy.ndimage import zoom
    coarse = rng.normal(size=cells)
    return zoom(coarse, [s / c for s, c in zip(shape, cells)], order=1, output=np.float32)


def draw(folder, cases):
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(1)
    body = smooth(rng, SHAPE, (10, 16, 16))
    volume = np.where(body > -0.3, body * 150 + 40, -1000).astype(np.float32)
    volume += rng.normal(0, 12, SHAPE).astype(np.float32)
    np.round(volume).astype("<f4").tofile(f"{folder}/volume.f32")
    labels = np.zeros(SHAPE, np.int16)
    for label in range(1, 5):
        labels[smooth(rng, SHAPE, (10, 12, 12)) > 1.1] = label
    labels[:100].astype("<i2").tofile(f"{folder}/labels.i16")
    if not cases:
        return
    import SimpleITK as sitk
    raw = f"{folder}/nnUNet_raw/Dataset950_Volumes"
    for sub in ("imagesTr", "labelsTr"):
        os.makedirs(f"{raw}/{sub}", exist_ok=True)
    for case in range(cases):
        noise = rng.normal(0, 4, SHAPE).astype(np.float32)
        for sub, name, array in (("imagesTr", f"case_{case:03d}_0000.nii.gz", np.round(volume + noise).astype(np.int16)),
                                 ("labelsTr", f"case_{case:03d}.nii.gz", np.roll(labels, 7 * case, 2).astype(np.uint8))):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing([float(v) for v in SPACING[::-1]])
            sitk.WriteImage(image, f"{raw}/{sub}/{name}", True, compressionLevel=1)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **{f"l{i}": i for i in range(1, 5)}},
                 "numTraining": cases, "file_ending": ".nii.gz"}
    json.dump(described, open(f"{raw}/dataset.json", "w"))


def report(step, start):
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"step": step, "seconds": round(seconds, 4), "cpu": round(cpu, 2), "peak_mb": peak}), flush=True)


def resample(folder, is_seg):
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape
    name, kind, shape = ("labels.i16", "<i2", (100, *SHAPE[1:])) if is_seg else ("volume.f32", "<f4", SHAPE)
    data = np.fromfile(f"{folder}/{name}", kind).reshape(1, *shape).astype(np.float32)
    target = SPACING * 0.7
    new_shape = compute_new_shape(shape, SPACING, target)
    start = (time.perf_counter(), time.process_time())
    resample_data_or_seg_to_shape(data, new_shape, SPACING, target, is_seg=is_seg, order=1 if is_seg else 3, order_z=0,
                                  force_separate_z=None)
    report("labels" if is_seg else "resample", start)


def sitk_resample(folder):
    import SimpleITK as sitk
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    data = np.fromfile(f"{folder}/volume.f32", "<f4").reshape(SHAPE)
    image = sitk.GetImageFromArray(data)
    image.SetSpacing([float(v) for v in SPACING[::-1]])
    target = SPACING * 0.7
    size = [int(round(n / 0.7)) for n in SHAPE]
    filter = sitk.ResampleImageFilter()
    filter.SetSize(size[::-1])
    filter.SetOutputSpacing([float(v) for v in target[::-1]])
    filter.SetInterpolator(sitk.sitkBSpline3)
    start = (time.perf_counter(), time.process_time())
    filter.Execute(image)
    report("sitk", start)


PEER = os.path.dirname(sys.executable)
TARGET = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")


def step_output(command):
    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1]
    return json.loads(line)


def whole(command, env):
    """Wall time, processor time and largest resident memory of a process and what it started."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command}: status {status}")
    return {"seconds": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss // 1024}


def fresh(folder):
    """Empty folders for what the steps write; returns them as the environment has them."""
    out = tempfile.mkdtemp(dir=folder)
    env = {f"nnUNet_{k}": f"{out}/{k}" for k in ("preprocessed", "results")}
    for path in env.values():
        os.makedirs(path)
    return out, env


def data_set(ours, theirs, raw):
    def run(command, folder):
        out, env = fresh(folder)
        result = whole(command, {**env, "nnUNet_raw": raw})
        shutil.rmtree(out)
        return result
    return {"nnunet": lambda f: run([f"{TARGET}/nnunet", *ours, "--threads", "2", "-q"], f),
            "nnU-Net": lambda f: run([f"{PEER}/{theirs[0]}", *theirs[1:]], f)}


def steps(folder):
    def ours(step):
        return lambda f: step_output([f"{TARGET}/examples/resample_speed", step, f, "1"])

    def peer(step):
        return lambda f: step_output([sys.executable, __file__, step, f])

    all = {"resample": {"nnunet": ours("resample"), "nnU-Net": peer("resample"), "SimpleITK": peer("sitk")},
           "labels": {"nnunet": ours("labels"), "nnU-Net": peer("labels")}}
    if os.path.isdir(f"{folder}/nnUNet_raw"):
        all["fingerprint"] = data_set(["fingerprint", "950"], ["nnUNetv2_extract_fingerprint", "-d", "950", "-np", "2"],
                                      f"{folder}/nnUNet_raw")
    raw = os.path.join(os.environ.get("NNUNET_TEST_DATA", ""), "data/nnUNet_raw")
    if os.path.isdir(f"{raw}/Dataset004_Hippocampus"):
        all["plan-and-preprocess"] = data_set(
            ["plan-and-preprocess", "4"],
            ["nnUNetv2_plan_and_preprocess", "-d", "4", "-c", "2d", "3d_fullres", "-np", "2", "2", "-npfp", "2"], raw)
    return all


def compare(folder, rounds, wanted):
    for step, runs in steps(folder).items():
        if wanted and step not in wanted:
            continue
        results = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                results[name].append(run(folder))
        middle = {name: {k: statistics.median(r[k] for r in list) for k in ("seconds", "cpu", "peak_mb")}
                  for name, list in results.items()}
        for name, m in middle.items():
            ratio = {k: m[k] / max(middle["nnunet"][k], 1e-9) for k in ("seconds", "cpu")}
            print(f"{step}: {name} {m['seconds']:.2f} s ({m['cpu']:.2f} s of processor time), {m['peak_mb']:.0f} MB; "
                  f"{ratio['seconds']:.1f} times nnunet's ({ratio['cpu']:.1f} in processor time)", flush=True)


if __name__ == "__main__":
    step, folder, *rest = sys.argv[1:]
    if step == "draw":
        draw(folder, int(rest[0]) if rest else 0)
    elif step == "compare":
        compare(folder, int(rest[0]), rest[1:])
    elif step == "sitk":
        sitk_resample(folder)
    else:
        resample(folder, step == "labels")
