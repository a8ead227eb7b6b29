#!/usr/bin/env python3
"""Lets nnU-Net v2.8.1 plan the fingerprints of the folders beside this script again.

usage: python make.py            (needs `pip install nnunetv2==2.8.1`)

Each folder holds dataset.json and dataset_fingerprint.json (drawn at random, see the folder's name for what it
covers); nnUNetPlans.json is written anew, in `transposed` also the plans of the planners that resample differently or
not at all, and customPlans.json with the options of customPlans.options.json.
"""
import json, os, shutil, tempfile
from pathlib import Path

work = Path(tempfile.mkdtemp())
for key in ("raw", "preprocessed", "results"):
    (work / key).mkdir()
    os.environ[f"nnUNet_{key}"] = str(work / key)
import nibabel, numpy
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.resampling.planners_no_resampling import nnUNetPlannerResEncL_noResampling
from nnunetv2.experiment_planning.experiment_planners.resampling.resample_with_torch import (
    nnUNetPlannerResEncL_torchres, nnUNetPlannerResEncL_torchres_sepz, nnUNetPlanner_torchres)
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    ResEncUNetPlanner, nnUNetPlannerResEncL, nnUNetPlannerResEncM, nnUNetPlannerResEncXL)

OTHERS = [ResEncUNetPlanner, nnUNetPlannerResEncM, nnUNetPlannerResEncL, nnUNetPlannerResEncXL, nnUNetPlannerResEncL_noResampling,
          nnUNetPlannerResEncL_torchres, nnUNetPlannerResEncL_torchres_sepz, nnUNetPlanner_torchres]
CUSTOM = {"class": "nnUNetPlannerResEncM", "plans_name": "customPlans", "gpu_memory_target_in_gb": 11.0,
          "overwrite_target_spacing": [1.5, 0.9, 2.5], "suppress_transpose": True}

for folder in sorted(p for p in Path(__file__).parent.iterdir() if p.is_dir()):
    name = "Dataset001_X"
    raw, pre = work / "raw" / name, work / "preprocessed" / name
    for path in (raw / "imagesTr", raw / "labelsTr", pre):
        path.mkdir(parents=True, exist_ok=True)
    dataset = json.loads((folder / "dataset.json").read_text())
    # The planner only wants to see that some reader can open the first image.
    example = raw / "imagesTr" / ("c_0000" + dataset["file_ending"])
    if dataset["file_ending"] == ".nii.gz":
        nibabel.save(nibabel.Nifti1Image(numpy.zeros((4, 4, 4), numpy.float32), numpy.eye(4)), example)
    else:
        from skimage.io import imsave
        imsave(example, numpy.zeros((8, 8), numpy.uint8))
    shutil.copy(folder / "dataset.json", raw)
    shutil.copy(folder / "dataset_fingerprint.json", pre)
    ExperimentPlanner(1).plan_experiment()
    shutil.copy(pre / "nnUNetPlans.json", folder / "nnUNetPlans.json")
    if folder.name == "transposed":
        planners = [planner(1) for planner in OTHERS]
        (folder / "customPlans.options.json").write_text(json.dumps(CUSTOM))
        planners.append(nnUNetPlannerResEncM(1, **{k: v for k, v in CUSTOM.items() if k != "class"}))
        for planner in planners:
            planner.plan_experiment()
            shutil.copy(pre / f"{planner.plans_identifier}.json", folder)
    shutil.rmtree(raw), shutil.rmtree(pre)
