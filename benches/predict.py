#!/usr/bin/env python3
"""Prediction from start to end, nnunet and nnU-Net in turn; called by `benches/side_by_side prediction` and `volume`.

usage: predict.py draw FOLDER Z Y X      draws an image of 1 mm voxels and the default 3-D network with random weights
       predict.py classes FOLDER N       draws a CT of 400×512×512 voxels, 1.5×0.8×0.8 mm, and a network of two stages at 1.5 mm
                                         with N classes
       predict.py compare IMAGES MODEL ROUNDS NNUNET [OPTION…]

OPTION: --no-mirroring, --step F (tile step size), bf16 (nnunet alone, beside f32). Two threads each; times are of whole processes, memory that of their
main process.
"""
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time


def draw(folder, shape, classes=3, small=False, spacing=(1.0, 1.0, 1.0)):
    import nibabel as nib
    import numpy as np
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from scipy.ndimage import zoom
    kinds = dict(conv_op="torch.nn.modules.conv.Conv3d", norm_op="torch.nn.modules.instancenorm.InstanceNorm3d",
                 nonlin="torch.nn.LeakyReLU", dropout_op=None)
    arguments = dict(
        n_stages=6, features_per_stage=[32, 64, 128, 256, 320, 320], kernel_sizes=[[3] * 3] * 6, strides=[[1] * 3] + [[2] * 3] * 5,
        n_conv_per_stage=[2] * 6, n_conv_per_stage_decoder=[2] * 5, conv_bias=True, norm_op_kwargs=dict(eps=1e-5, affine=True),
        dropout_op_kwargs=None, nonlin_kwargs=dict(inplace=True), **kinds)
    if small:
        arguments.update(n_stages=2, features_per_stage=[4, 8], kernel_sizes=[[3] * 3] * 2, strides=[[1] * 3, [2] * 3],
                         n_conv_per_stage=[1, 1], n_conv_per_stage_decoder=[1])
    name = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
    function = "resample_data_or_seg_to_shape"
    linear = dict(is_seg=False, order=1, order_z=0, force_separate_z=None)
    configuration = dict(
        data_identifier="x", preprocessor_name="DefaultPreprocessor", batch_size=2, patch_size=[128] * 3,
        median_image_size_in_voxels=[float(n) for n in shape], spacing=[max(spacing)] * 3, normalization_schemes=["ZScoreNormalization"],
        use_mask_for_norm=[False], resampling_fn_data=function, resampling_fn_seg=function, resampling_fn_probabilities=function,
        resampling_fn_data_kwargs=dict(linear, order=3), resampling_fn_seg_kwargs=dict(linear, is_seg=True),
        resampling_fn_probabilities_kwargs=linear, batch_dice=False,
        architecture=dict(network_class_name=name, arch_kwargs=arguments, _kw_requires_import=list(kinds)))
    plans = dict(
        dataset_name="Dataset001_Drawn", plans_name="nnUNetPlans", original_median_spacing_after_transp=[1.0] * 3,
        original_median_shape_after_transp=list(shape), image_reader_writer="SimpleITKIO", transpose_forward=[0, 1, 2],
        transpose_backward=[0, 1, 2], configurations={"3d_fullres": configuration}, experiment_planner_used="ExperimentPlanner",
        label_manager="LabelManager", foreground_intensity_properties_per_channel={"0": dict.fromkeys(
            ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)})
    dataset = dict(channel_names={"0": "MRI"}, labels=dict(background=0, **{f"l{i}": i for i in range(1, classes)}), numTraining=1, file_ending=".nii.gz")
    torch.manual_seed(0)
    network = get_network_from_plans(name, arguments, list(kinds), 1, classes, allow_init=True, deep_supervision=True)
    fold = f"{folder}/model/fold_0"
    os.makedirs(fold, exist_ok=True)
    torch.save(dict(
        network_weights=network.state_dict(), optimizer_state={}, grad_scaler_state=None, logging={}, _best_ema=0.0, current_epoch=1,
        init_args=dict(configuration="3d_fullres", fold=0, plans=plans, dataset_json=dataset, device="cpu"),
        trainer_name="nnUNetTrainer", inference_allowed_mirroring_axes=(0, 1, 2)), f"{fold}/checkpoint_final.pth")
    for file, content in ("dataset", dataset), ("plans", plans):
        json.dump(content, open(f"{folder}/model/{file}.json", "w"))
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(8, 8, 8))
    volume = zoom(coarse, [n / 8 for n in shape], order=1, output=np.float32) * 100 + rng.normal(size=shape).astype(np.float32)
    os.makedirs(f"{folder}/images", exist_ok=True)
    nib.save(nib.Nifti1Image(volume.T, np.diag([*spacing[::-1], 1.0])), f"{folder}/images/volume_0000.nii.gz")


def run(name, command):
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            sys.exit(f"{name} failed: {said.read().decode()[-2000:]}")
    seconds = time.perf_counter() - begun
    print(f"  {name}: {seconds:.1f} s, processor time {usage.ru_utime + usage.ru_stime:.1f} s, "
          f"peak {usage.ru_maxrss >> 10} MB", file=sys.stderr, flush=True)
    return seconds


def equal(a, b):
    """Share of equal labels over the files of two folders."""
    import nibabel as nib
    import numpy as np
    same = total = 0
    for file in sorted(glob.glob(f"{a}/*.nii.gz")):
        one, two = (np.asarray(nib.load(f).dataobj) for f in (file, file.replace(a, b)))
        same, total = same + (one == two).sum(), total + one.size
    return same / total


def compare(images, model, rounds, program, options):
    os.environ.update(OMP_NUM_THREADS="2", RAYON_NUM_THREADS="2")
    peer = os.path.join(os.path.dirname(sys.executable), "nnUNetv2_predict_from_modelfolder")
    work = tempfile.mkdtemp()
    arguments = ["-i", images, "-m", model, "-f", "0"]
    plain = "--no-mirroring" in options
    step = options[options.index("--step") + 1] if "--step" in options else "0.5"
    precisions = ["f32"] + [option for option in options if option == "bf16"]
    times = {}
    for _ in range(rounds):
        for precision in precisions:
            command = [program, "predict", *arguments, "-o", f"{work}/{precision}", "--precision", precision, "--threads", "2",
                       "--step", step]
            name = f"nnunet {precision}"
            times.setdefault(name, []).append(run(name, command + ["--no-mirroring"] * plain))
        command = [peer, *arguments, "-o", f"{work}/theirs", "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_progress_bar", "-step_size", step]
        times.setdefault("nnU-Net", []).append(run("nnU-Net", command + ["--disable_tta"] * plain))
    theirs = statistics.median(times["nnU-Net"])
    for name, all_of_it in times.items():
        seconds = statistics.median(all_of_it)
        print(f"{name}: {seconds:.1f} s (median of {rounds}), {theirs / seconds:.2f} times nnU-Net's speed")
    for precision in precisions:
        print(f"labels of nnunet {precision} equal to nnU-Net's: {equal(f'{work}/{precision}', f'{work}/theirs') * 100:.4f} %")


if sys.argv[1] == "draw":
    draw(sys.argv[2], tuple(int(n) for n in sys.argv[3:6]))
elif sys.argv[1] == "classes":
    draw(sys.argv[2], (400, 512, 512), int(sys.argv[3]), True, (1.5, 0.8, 0.8))
else:
    compare(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5], sys.argv[6:])
