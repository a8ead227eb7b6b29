"""What `check_seg.py` and `check_rtstruct.py` share."""

import shutil
import subprocess

import SimpleITK as sitk


def read_series(folder):
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def on_grid(labels, image):
    """Puts a label image onto the grid of an image by the places of its voxels."""
    return sitk.GetArrayFromImage(sitk.Resample(labels, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0))


def validate(path):
    """The errors that dciodvfy of dicom3tools finds."""
    if shutil.which("dciodvfy") is None:
        return ["dciodvfy is not installed"]
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr
    return [line for line in said.splitlines() if line.startswith("Error")]
