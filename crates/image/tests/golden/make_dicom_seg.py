"""Makes `dicom_seg/` beside it: a drawn series, a label map of it (`labels.npz`), and segmentations of the label map by other
programs, which the tests read.

    python make_dicom_seg.py

Needs highdicom 0.28, pydicom 3, SimpleITK 2.5 and dcmqi 1.5.7.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

import make_dicom

HERE = Path(__file__).parent
FILES = HERE / "dicom_seg"
SPACING = (0.75, 0.5)
ROW, COLUMN = np.array([1, 0, 0]), np.array([0, 0, -1])


def series(step):
    normal = np.cross(ROW, COLUMN)

    def change(ds, k):
        ds.ImageOrientationPatient = [*ROW, *COLUMN]
        ds.ImagePositionPatient = [float(v) for v in np.array([-20.5, 11.25, 40]) + normal * step * k]
        ds.PixelSpacing, ds.SliceThickness = list(SPACING), abs(step)
        ds.SeriesInstanceUID = "1.2.3.4.7"

    volume = np.arange(4 * 3 * 5, dtype="<i2").reshape(4, 3, 5)
    make_dicom.series("series", volume, step=step, storage=CTImageStorage, change=change)


def described(number):
    algorithm = hd.AlgorithmIdentificationSequence(
        name="drawn", version="1", family=codes.DCM.ArtificialIntelligence
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"part {number}",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Hippocampus if hasattr(codes.SCT, "Hippocampus") else codes.SCT.Brain,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )


def slices(folder):
    found = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    for ds in found:
        for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientSex"):
            setattr(ds, keyword, getattr(ds, keyword, ""))
    axes = np.array(found[0].ImageOrientationPatient, float).reshape(2, 3)
    return sorted(found, key=lambda ds: np.dot(np.cross(*axes), np.array(ds.ImagePositionPatient, float)))


def by_highdicom(name, source, planes, kind, segments, **more):
    seg = hd.seg.Segmentation(
        source_images=source,
        pixel_array=planes,
        segmentation_type=kind,
        segment_descriptions=[described(n) for n in range(1, segments + 1)],
        series_instance_uid="1.2.3.4.8",
        series_number=9,
        sop_instance_uid="1.2.3.4.9",
        instance_number=1,
        manufacturer="drawn",
        manufacturer_model_name="drawn",
        software_versions="1",
        device_serial_number="1",
        **more,
    )
    seg.save_as(FILES / f"{name}.dcm")


def by_dcmqi(name, labels, image, kind):
    def code(value, meaning):
        return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}

    segments = [
        {
            "labelID": n,
            "SegmentLabel": f"part {n}",
            "SegmentAlgorithmType": "AUTOMATIC",
            "SegmentAlgorithmName": "drawn",
            "SegmentedPropertyCategoryCodeSequence": code("123037004", "Anatomical Structure"),
            "SegmentedPropertyTypeCodeSequence": code("5366008", "Hippocampus"),
            "recommendedDisplayRGBValue": [220, 60, 20 * n],
        }
        for n in (1, 2, 3)
    ]
    about = {
        "ContentCreatorName": "Drawn", "ClinicalTrialSeriesID": "1", "ClinicalTrialTimePointID": "1",
        "SeriesDescription": "drawn", "SeriesNumber": "9", "InstanceNumber": "1", "BodyPartExamined": "BRAIN",
        "segmentAttributes": [segments],
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "about.json").write_text(json.dumps(about))
        drawn = sitk.GetImageFromArray(labels)
        drawn.CopyInformation(image)
        sitk.WriteImage(drawn, str(folder / "labels.nrrd"))
        subprocess.run(
            [
                Path(sys.executable).with_name("itkimage2segimage"), "--inputImageList", folder / "labels.nrrd",
                "--inputDICOMDirectory", FILES / "series", "--inputMetadata", folder / "about.json",
                "--segmentationType", kind, "--skip", "1", "--outputDICOM", FILES / f"{name}.dcm",
            ],
            check=True,
        )


def make():
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    make_dicom.FILES = FILES
    series(-2.5)
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 4, size=(4, 3, 5)).astype(np.int16)
    labels[1][labels[1] == 2] = 0
    labels[0] = 0
    np.savez_compressed(FILES / "labels.npz", labels=labels)
    source = slices(FILES / "series")
    binary, fractional = hd.seg.SegmentationTypeValues.BINARY, hd.seg.SegmentationTypeValues.FRACTIONAL
    by_highdicom("highdicom_whole", source, labels.astype("u1"), binary, 3, omit_empty_frames=False)
    by_highdicom("highdicom_sparse", source, labels.astype("u1"), binary, 3, omit_empty_frames=True)
    both = np.stack([labels > 0, labels == 2], -1).astype("u1")
    by_highdicom("highdicom_overlap", source, both, binary, 2)
    fractions = np.stack([0.7 * (labels == n) for n in (1, 2, 3)], -1)
    by_highdicom("highdicom_fractional", source, fractions, fractional, 3)
    image = make_dicom.read(FILES / "series")
    by_dcmqi("dcmqi_binary", labels, image, "binary")
    by_dcmqi("dcmqi_labelmap", labels, image, "labelmap")


if __name__ == "__main__":
    make()
