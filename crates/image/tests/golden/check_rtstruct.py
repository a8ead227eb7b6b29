"""Compares RT Structure Set files that the tests wrote with what other tools read from them: SimpleITK 2.5 and Shapely 2 (a voxel belongs
to a region if its centre is in an odd number of contours), rt-utils 1.2.7 (series of square slices with square pixels), plastimatch
1.9.4 (axial series), dicompyler-core 0.5.6 (axial series; it needs pydicom 2), and dciodvfy of dicom3tools, where they are installed.
Not part of the tests, which need no Python.

    NNUNET_WRITTEN=FOLDER cargo test --release -p nnunet-image --features dicom --test image rtstruct
    python check_rtstruct.py FOLDER

The contours must be simple polygons but for the channels to their holes, whose ways there and back coincide.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from comparing import on_grid, read_series, validate


def by_shapely(path, image):
    """Centres of voxels in contours; slices from places, compared with those of the instances that contours refer to."""
    import shapely

    ds = pydicom.dcmread(path)
    out = np.zeros(sitk.GetArrayFromImage(image).shape, int)
    y, x = np.mgrid[: out.shape[1], : out.shape[2]]
    referenced = {}
    for roi in ds.ROIContourSequence:
        for contour in getattr(roi, "ContourSequence", []):
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == int(contour.NumberOfContourPoints)
            index = np.array([image.TransformPhysicalPointToContinuousIndex(p.tolist()) for p in points])
            (z,) = set(np.round(index[:, 2]).astype(int))
            assert np.abs(index[:, 2] - z).max() < 0.02
            (reference,) = {i.ReferencedSOPInstanceUID for i in contour.ContourImageSequence}
            assert referenced.setdefault(reference, z) == z
            edges = {(tuple(a), tuple(b)) for a, b in zip(points.tolist(), np.roll(points, -1, 0).tolist())}
            channel = sum((b, a) in edges for a, b in edges)
            polygon = shapely.Polygon(index[:, :2])
            assert polygon.is_valid == (channel == 0)
            # Without the channels there is a polygon with holes.
            if channel:
                polygon = shapely.make_valid(polygon)
                polygon = shapely.union_all([p for p in shapely.get_parts(polygon) if p.area > 0])
            out[z][shapely.contains_xy(polygon, x, y)] = int(roi.ReferencedROINumber)
    return out


def by_rt_utils(path, series, image):
    """Nothing unless slices and pixels are square: rt-utils takes one side for the other."""
    from rt_utils import RTStructBuilder

    shape = sitk.GetArrayFromImage(image).shape
    if shape[1] != shape[2] or image.GetSpacing()[0] != image.GetSpacing()[1]:
        return None
    read = RTStructBuilder.create_from(str(series), str(path))
    out = np.zeros(shape, int)
    for item in read.ds.StructureSetROISequence:
        contours = next(c for c in read.ds.ROIContourSequence if c.ReferencedROINumber == item.ROINumber)
        if "ContourSequence" in contours:
            mask = np.moveaxis(read.get_roi_mask_by_name(item.ROIName), -1, 0)
            out[mask] = int(item.ROINumber)
    return out


def is_axial(image):
    return np.array_equal(np.array(image.GetDirection()).reshape(3, 3), np.eye(3))


def by_plastimatch(path, series, image):
    if shutil.which("plastimatch") is None or not is_axial(image):
        return None
    out = np.zeros(sitk.GetArrayFromImage(image).shape, int)
    ds = pydicom.dcmread(path)
    with tempfile.TemporaryDirectory() as folder:
        command = ["plastimatch", "convert", "--input", path, "--referenced-ct", series, "--output-prefix", folder]
        subprocess.run(command, check=True, capture_output=True)
        for item in ds.StructureSetROISequence:
            file = Path(folder) / f"{item.ROIName}.mha"
            if file.exists():
                out[on_grid(sitk.ReadImage(str(file)), image) > 0] = int(item.ROINumber)
    return out


def by_dicompyler(path, image):
    if not is_axial(image):
        return None
    try:
        from dicompylercore import dicomparser, dvhcalc
    except ImportError:
        return None
    read = dicomparser.DicomParser(str(path))
    shape = sitk.GetArrayFromImage(image).shape
    out = np.zeros(shape, int)
    (ox, oy, oz), (sx, sy, sz) = image.GetOrigin(), image.GetSpacing()
    y, x = np.mgrid[: shape[1], : shape[2]]
    centres = np.column_stack([(ox + x * sx).ravel(), (oy + y * sy).ravel()])
    grid = {"lut": [ox + np.arange(shape[2]) * sx, oy + np.arange(shape[1]) * sy], "x_lut_index": 0}
    for number, structure in read.GetStructures().items():
        for z, contours in read.GetStructureCoordinates(number).items():
            inside = np.zeros(shape[1:], bool)
            for contour in contours:
                points = np.array(contour["data"], float)[:, :2]
                inside ^= dvhcalc.get_contour_mask(grid, number, centres, points)
            out[round((float(z) - oz) / sz)][inside] = int(number)
    return out


def main(folder):
    failed = 0
    for case in sorted((folder / "rtstruct").iterdir()):
        series, path = case / "series", case / "rtstruct.dcm"
        image = read_series(series)
        labels = sitk.ReadImage(str(case / "labels.nii.gz"))
        expected = sitk.GetArrayFromImage(labels)
        results = {"SimpleITK places": np.array_equal(on_grid(labels, image), expected)}
        found = {
            "Shapely": by_shapely(path, image),
            "rt-utils": by_rt_utils(path, series, image),
            "plastimatch": by_plastimatch(path, series, image),
            "dicompyler": by_dicompyler(path, image),
        }
        for name, array in found.items():
            if array is not None:
                results[name] = np.array_equal(array, expected)
                if not results[name]:
                    print(f"{name}: {np.count_nonzero(array != expected)} of {np.count_nonzero(expected)} voxels differ")
        errors = validate(path)
        results["dciodvfy"] = not errors
        if errors:
            print("\n".join(errors))
        wrong = [name for name, good in results.items() if not good]
        failed += len(wrong)
        print(f"{case.name}: {len(results) - len(wrong)} of {len(results)} agree: {', '.join(results)} {wrong or ''}")
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
