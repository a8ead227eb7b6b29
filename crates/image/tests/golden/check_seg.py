"""Compares DICOM SEG files that the tests wrote with what other tools read from them: pydicom 3, highdicom 0.28, pydicom-seg 0.4 (through
SimpleITK), dcmqi 1.5.7, and dciodvfy of dicom3tools, where they are installed. Not part of the tests, which need no Python.

    NNUNET_WRITTEN=FOLDER cargo test --release -p nnunet-image --features dicom --test image seg
    python check_seg.py FOLDER
"""

import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pydicom.uid
import SimpleITK as sitk

# pydicom-seg 0.4 asks for a module that pydicom 3 has under another name.
sys.modules["pydicom._storage_sopclass_uids"] = types.SimpleNamespace(SegmentationStorage=pydicom.uid.SegmentationStorage)
import pydicom_seg  # noqa: E402


def read_series(folder):
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return sitk.ReadImage(files)


def on_grid(labels, image):
    """Puts a label image onto the grid of an image by the places of its voxels."""
    return sitk.GetArrayFromImage(sitk.Resample(labels, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0))


def by_highdicom(path, series):
    """Label maps slice by slice, looked up by the source images that frames refer to."""
    seg = hd.seg.segread(path)
    files = [pydicom.dcmread(f) for f in sorted(series.glob("*.dcm"))]
    normal = np.cross(*np.array(files[0].ImageOrientationPatient, float).reshape(2, 3))
    files.sort(key=lambda f: float(np.dot(normal, np.array(f.ImagePositionPatient, float))))
    fractional = seg.SegmentationType == "FRACTIONAL"
    pixels = seg.get_pixels_by_source_instance(
        [f.SOPInstanceUID for f in files], combine_segments=not fractional, rescale_fractional=False,
        assert_missing_frames_are_empty=True)
    if not fractional:
        return pixels
    fractions = pixels.astype(int)
    background = int(seg.MaximumFractionalValue) - fractions.sum(-1, keepdims=True)
    return np.argmax(np.concatenate([background, fractions], -1), -1)


def by_pydicom_seg(path, image):
    read = pydicom_seg.SegmentReader().read(pydicom.dcmread(path))
    out = np.zeros(sitk.GetArrayFromImage(image).shape, int)
    for number in read.available_segments:
        out[on_grid(read.segment_image(number), image) > 0] = number
    return out


def by_dcmqi(path, image):
    """Of dcmqi 1.5.7; nothing if it is not installed."""
    tool = Path(sys.executable).with_name("segimage2itkimage")
    if not tool.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [tool, "--inputDICOM", path, "--outputDirectory", folder, "--mergeSegments", "-t", "nii"]
        subprocess.run(command, check=True, capture_output=True)
        (file,) = Path(folder).glob("*.nii.gz")
        return on_grid(sitk.ReadImage(str(file)), image)


def validate(path):
    if shutil.which("dciodvfy") is None:
        return ["dciodvfy is not installed"]
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True).stderr
    return [line for line in said.splitlines() if line.startswith("Error")]


def main(folder):
    failed = 0
    for case in sorted((folder / "seg").iterdir()):
        image = read_series(case / "series")
        labels = sitk.ReadImage(str(case / "labels.nii.gz"))
        expected = sitk.GetArrayFromImage(labels)
        placed = np.array_equal(on_grid(labels, image), expected)
        results = {"SimpleITK places": placed}
        for name in ["binary", "fractional"]:
            path = case / f"{name}.dcm"
            if not path.exists():
                continue
            results[f"highdicom {name}"] = np.array_equal(by_highdicom(path, case / "series"), expected)
            errors = validate(path)
            results[f"dciodvfy {name}"] = not errors
            if errors:
                print("\n".join(errors))
        dcmqi = by_dcmqi(case / "binary.dcm", image)
        if dcmqi is not None:
            results["dcmqi binary"] = np.array_equal(dcmqi, expected)
        results["pydicom-seg binary"] = np.array_equal(by_pydicom_seg(case / "binary.dcm", image), expected)
        wrong = [name for name, good in results.items() if not good]
        failed += len(wrong)
        print(f"{case.name}: {len(results) - len(wrong)} of {len(results)} agree {wrong or ''}")
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
