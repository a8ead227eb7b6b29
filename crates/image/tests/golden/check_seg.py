"""Compares DICOM SEG files that the tests wrote with what other tools read from them: pydicom 3, highdicom 0.28, pydicom-seg 0.4 (through
SimpleITK), dcmqi 1.5.7, and dciodvfy of dicom3tools, where they are installed. Not part of the tests, which need no Python.

    NNUNET_WRITTEN=FOLDER cargo test --release -p nnunet-image --features dicom --test image seg
    python check_seg.py FOLDER

With the binary `nnunet`, a folder of DICOM series and a model, it converts every series and compares it with SimpleITK and dcm2niix,
and compares the SEG files that a prediction ends in with the NIfTI files beside them:

    python check_seg.py NNUNET DICOM_FOLDER MODEL_DIR SERIES
"""

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

from comparing import on_grid, read_series, validate

# pydicom-seg 0.4 asks for a module that pydicom 3 has under another name.
sys.modules["pydicom._storage_sopclass_uids"] = types.SimpleNamespace(SegmentationStorage=pydicom.uid.SegmentationStorage)
import pydicom_seg  # noqa: E402


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


def same_voxels(a, b):
    """Whether two images have the same values in the same places, whatever the order of their axes."""
    a, b = sitk.DICOMOrient(a, "LPS"), sitk.DICOMOrient(b, "LPS")
    places = [np.allclose(f(a), f(b), atol=1e-3) for f in (
        lambda i: i.GetOrigin(), lambda i: i.GetSpacing(), lambda i: i.GetDirection())]
    return a.GetSize() == b.GetSize() and all(places) and np.array_equal(
        sitk.GetArrayFromImage(a).astype(float), sitk.GetArrayFromImage(b).astype(float))


def fractions(path, source):
    """Compares a FRACTIONAL file with the probabilities beside it."""
    stored = np.load(path.with_name(path.name.replace("_probabilities.dcm", ".npz")))["probabilities"].astype(np.float32)
    steps = np.floor(np.clip(stored, 0, 1) * np.float32(255) + np.float32(0.5)).astype(int)[1:]
    seg = hd.seg.segread(path)
    files = [pydicom.dcmread(f) for f in sorted(source.glob("*.dcm"))]
    normal = np.cross(*np.array(files[0].ImageOrientationPatient, float).reshape(2, 3))
    files.sort(key=lambda f: float(np.dot(normal, np.array(f.ImagePositionPatient, float))))
    found = seg.get_pixels_by_source_instance([f.SOPInstanceUID for f in files], combine_segments=False,
                                              rescale_fractional=False, assert_missing_frames_are_empty=True)
    off = np.abs(np.moveaxis(found.astype(int), -1, 0) - steps).max()
    image = read_series(source)
    read = pydicom_seg.SegmentReader().read(pydicom.dcmread(path))
    theirs = np.stack([on_grid(read.segment_image(number), image) for number in sorted(read.available_segments)])
    off_theirs = np.abs(theirs * (255 if theirs.max() <= 1 else 1) - steps).max()
    errors = validate(path)
    print("\n".join([f"{path.name}: {seg.SegmentationType}, {seg.SegmentationFractionalType}, {len(steps)} segments, steps within "
                     f"{off} (highdicom) and {off_theirs:.2g} (pydicom-seg), dciodvfy {len(errors)} errors"] + errors))
    return int(off > 0) + int(off_theirs > 1e-3) + len(errors)


def real(nnunet, folder, model, series):
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        for source in sorted({file.parent for file in folder.rglob("*.dcm")}):
            ours = place / "ours.nii.gz"
            subprocess.run([nnunet, "dicom", "convert", "--source", source, "-o", ours], check=True)
            subprocess.run(["dcm2niix", "-z", "y", "-f", "theirs", "-o", place, source], check=True, capture_output=True)
            ours = sitk.ReadImage(str(ours))
            theirs = [sitk.ReadImage(str(file)) for file in place.glob("theirs*.nii.gz")]
            results = [same_voxels(ours, read_series(source)), len(theirs) == 1 and same_voxels(ours, theirs[0])]
            for file in place.glob("theirs*"):
                file.unlink()
            failed += results.count(False)
            print(f"{source}: as SimpleITK {results[0]}, as dcm2niix {results[1]}")
        out = place / "out"
        subprocess.run([nnunet, "predict", "-i", folder, "-o", out, "-m", model, "-f", "0", "--no-mirroring",
                        "--series", series, "--output-format", "nifti", "dicom-seg", "--fractional", "--save-probabilities"],
                       check=True)
        for path in sorted(out.glob("*.dcm")):
            source = next(f for f in {f.parent for f in folder.rglob("*.dcm")}
                          if "_".join(f.relative_to(folder).parts) == path.stem.removesuffix("_probabilities"))
            if path.stem.endswith("_probabilities"):
                failed += fractions(path, source)
                continue
            labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path.with_suffix(".nii.gz"))))
            results = [np.array_equal(by_highdicom(path, source), labels),
                       np.array_equal(by_pydicom_seg(path, read_series(source)), labels)]
            errors = validate(path)
            print("\n".join([f"{path.name}: highdicom {results[0]}, pydicom-seg {results[1]}, dciodvfy "
                             f"{len(errors)} errors, {np.count_nonzero(labels)} voxels"] + errors))
            failed += results.count(False) + len(errors)
    return failed


if __name__ == "__main__":
    run = main if len(sys.argv) == 2 else real
    sys.exit(run(*[part if number == 3 else Path(part) for number, part in enumerate(sys.argv[1:])]))
