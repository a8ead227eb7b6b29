"""Makes `dicom/`, `dicom.tsv` and `dicom.npz` beside it: small drawn series, and what SimpleITK 2.5.7 reads from them.
pydicom 3 draws them, with pylibjpeg-openjpeg, pyjpegls and Pillow for the compressed ones.

    python make_dicom.py                    makes the files
    python make_dicom.py check FOLDER DATA  compares what the tests wrote to FOLDER from the series in DATA with SimpleITK,
                                            voxel by voxel (NNUNET_WRITTEN=FOLDER cargo test -p nnunet-image --features dicom)
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage, EnhancedMRImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian,
    JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, MRImageStorage, RLELossless,
)

HERE = Path(__file__).parent
FILES = HERE / "dicom"
ROW, COLUMN = np.array([0.8, 0.6, 0.0]), np.array([-0.36, 0.48, -0.8])
NORMAL = np.cross(ROW, COLUMN)


def head(uid, storage=CTImageStorage):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[uid])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = "1.2.3"
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Secret^Name", "SECRET7", "19010203"
    ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = "CT", "1.2.3.4", "1.2.3.4.5"
    ds.FrameOfReferenceUID = "1.2.3.4.6"
    ds.SeriesNumber, ds.SeriesDescription = 3, "drawn"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    return ds


def pixels(ds, data, stored=None):
    ds.Rows, ds.Columns = data.shape[-2:]
    ds.BitsAllocated = 8 * data.itemsize
    ds.BitsStored = stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(data.dtype.kind == "i")
    ds.PixelData = data.tobytes()
    ds["PixelData"].VR = "OW" if data.itemsize > 1 else "OB"


def series(name, volume, *, step=2.5, storage=CTImageStorage, stored=None, change=None, finish=None):
    """Writes a slice per file, names in an order of their own."""
    folder = FILES / name
    folder.mkdir()
    for k, data in enumerate(volume):
        ds = head(f"{name}{k}", storage)
        ds.InstanceNumber = len(volume) - k
        ds.ImageOrientationPatient = [*ROW, *COLUMN]
        ds.ImagePositionPatient = [round(float(v), 6) for v in np.array([-20.5, 11.25, 40]) + NORMAL * step * k]
        ds.PixelSpacing, ds.SliceThickness = [0.75, 0.5], 2
        pixels(ds, data, stored)
        if change:
            ds = change(ds, k) or ds
        path = folder / f"{(7 * k + 3) % 11:02}.dcm"
        if finish:
            finish(ds, path)
        else:
            ds.save_as(path, enforce_file_format=True)


def recoded(uid):
    def finish(ds, path):
        if uid == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, f"u{ds.BitsAllocated // 8}").byteswap().tobytes()
        ds.file_meta.TransferSyntaxUID = uid
        ds.file_meta.FileMetaInformationVersion, ds.file_meta.FileMetaInformationGroupLength = b"\0\1", 0
        implicit, little = uid == ImplicitVRLittleEndian, uid != ExplicitVRBigEndian
        pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=little, force_encoding=True)

    return finish


def compressed(uid):
    def finish(ds, path):
        ds.compress(uid, generate_instance_uid=False)
        ds.save_as(path, enforce_file_format=True)

    return finish


def baseline(ds, path):
    data = np.frombuffer(ds.PixelData, np.uint8).reshape(ds.Rows, ds.Columns)
    stream = io.BytesIO()
    Image.fromarray(data).save(stream, "jpeg", quality=95)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([stream.getvalue()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.LossyImageCompression = "01"
    ds.save_as(path, enforce_file_format=True)


def lossless(name, source):
    """JPEG lossless, process 14, as GDCM codes it."""
    folder = FILES / name
    folder.mkdir()
    for path in sorted((FILES / source).iterdir()):
        image = sitk.ReadImage(str(path))
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.SetFileName(str(folder / path.name))
        writer.Execute(image)
        assert pydicom.dcmread(folder / path.name).file_meta.TransferSyntaxUID == JPEGLosslessSV1


def enhanced(name, volume, step=2.5):
    folder = FILES / name
    folder.mkdir()
    ds = head(name, EnhancedMRImageStorage)
    ds.Modality, ds.NumberOfFrames = "MR", len(volume)
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [*ROW, *COLUMN]
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.75, 0.5], 2, step
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(len(volume)):
        frame, place, value, content = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [round(float(v), 6) for v in np.array([-20.5, 11.25, 40]) + NORMAL * step * k]
        value.RescaleIntercept, value.RescaleSlope, value.RescaleType = -100, 2, "US"
        content.InStackPositionNumber, content.StackID, content.DimensionIndexValues = k + 1, "1", [1, k + 1]
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = Sequence([place]), Sequence([value])
        frame.FrameContentSequence = Sequence([content])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    pixels(ds, volume)
    ds.save_as(folder / "frames.dcm", enforce_file_format=True)


def sound(rng):
    short = rng.integers(-1000, 3000, size=(5, 6, 8)).astype("<i2")
    wide = rng.integers(0, 65536, size=(5, 6, 8)).astype("<u2")
    series("explicit", short)
    series("unsigned", wide)
    series("bytes", (wide % 256).astype("u1"))
    series("implicit", short, finish=recoded(ImplicitVRLittleEndian))
    series("big_endian", short, finish=recoded(ExplicitVRBigEndian))
    series("twelve_bits", wide % 4096, stored=12)
    series("twelve_signed", (short % 4096 - 2048).astype("<i2"), stored=12)

    def rescaled(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + 0.37 * k:.2f}", -1024 + k

    series("rescaled", wide % 4096, stored=12, change=rescaled)
    series("reversed", short, step=-2.5)
    series("rle", short, finish=compressed(RLELossless))
    series("rle_bytes", (wide % 256).astype("u1"), finish=compressed(RLELossless))
    z, y, x = np.indices((5, 16, 24))
    series("jpeg_baseline", (100 + 5 * z + 3 * y + 2 * x).astype("u1"), finish=baseline)
    lossless("jpeg_lossless", "unsigned")
    lossless("jpeg_lossless_signed", "explicit")
    series("jpeg_2000", (np.indices((3, 40, 44)).sum(0) * 37 % 4096).astype("<u2"), stored=12, finish=compressed(JPEG2000Lossless))
    enhanced("enhanced", wide % 4096)
    mr = short.copy()
    series("mr", mr, storage=MRImageStorage, change=lambda ds, k: setattr(ds, "Modality", "MR"))


def unsound(rng):
    short = rng.integers(-1000, 3000, size=(4, 3, 4)).astype("<i2")

    def at(k, **fields):
        def change(ds, slice):
            if slice == k:
                for key, value in fields.items():
                    if value is None:
                        delattr(ds, key)
                    else:
                        setattr(ds, key, value)

        return change

    def moved(vector):
        def change(ds, k):
            ds.ImagePositionPatient = [float(v) for v in np.array(ds.ImagePositionPatient) + np.array(vector(k))]

        return change

    series("bad_tilt", short, change=moved(lambda k: 0.2 * k * COLUMN))
    series("bad_missing", short, change=moved(lambda k: (k > 1) * 2.5 * NORMAL))
    series("bad_uneven", short, change=moved(lambda k: (k > 2) * 0.9 * NORMAL))
    series("bad_twice", short, change=moved(lambda k: -(k == 2) * 2.5 * NORMAL))
    series("bad_two_series", short, change=at(1, SeriesInstanceUID="1.2.3.4.99"))
    series("bad_position", short, change=at(1, ImagePositionPatient=None))
    series("bad_orientation", short, change=at(2, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    series("bad_vectors", short, change=at(2, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    series("bad_spacing", short, change=at(2, PixelSpacing=[0.75, -0.5]))
    series("bad_spacings", short, change=at(2, PixelSpacing=[0.75, 0.6]))
    series("bad_size", short, change=at(2, Rows=2))
    series("bad_rows", short, change=at(0, Rows=65535, Columns=65535))
    series("bad_colour", short, change=at(0, SamplesPerPixel=3))
    series("bad_short", short, change=at(3, PixelData=b"ab"))
    series("bad_pixels", short, change=at(3, PixelData=None))
    series("bad_frames", short, change=at(0, NumberOfFrames=70000))
    series("bad_frame_groups", short, change=at(0, NumberOfFrames=2))
    series("bad_jpeg_ls", np.zeros((2, 32, 32), "<i2"), finish=compressed(JPEGLSLossless))
    series("bad_one_slice", short[:1], change=at(0, SliceThickness=None))


def read(folder):
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(names[0]) if len(names) == 1 else None
    if image is None:
        reader.SetFileNames(names)
        image = reader.Execute()
    return image


def row(name, image):
    numbers = [*image.GetSpacing()[::-1], *image.GetOrigin(), *image.GetDirection()]
    return [name, "SimpleITK", "1", *map(str, image.GetSize()[::-1]), *(repr(float(v)) for v in numbers)]


def check(folder, data):
    for path in sorted(folder.glob("series_*.nrrd")):
        ours = sitk.ReadImage(str(path))
        theirs = read(data / "dicom" / path.stem.removeprefix("series_").replace("__", "/"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs).astype(np.float32))
        for field in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(ours, field)(), getattr(theirs, field)(), atol=2e-6)
        print(f"{path.name}: as SimpleITK reads it, {ours.GetNumberOfPixels()} voxels")
        if shutil.which("dcm2niix"):
            check_dcm2niix(ours, data / "dicom" / path.stem.removeprefix("series_").replace("__", "/"))


def check_dcm2niix(ours, folder):
    """dcm2niix turns axes as it likes; voxels are compared by their places."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["dcm2niix", "-z", "n", "-o", out, "-f", "series", folder], check=True, capture_output=True)
        theirs = sitk.DICOMOrient(sitk.ReadImage(f"{out}/series.nii"), "LPS")
    ours = sitk.DICOMOrient(ours, "LPS")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs).astype(np.float32))
    corners = [[k >> i & 1 and ours.GetSize()[i] - 1 for i in range(3)] for k in range(8)]
    far = [np.subtract(*(image.TransformIndexToPhysicalPoint(at) for image in (ours, theirs))) for at in corners]
    print(f"  and as dcm2niix converts it, corners within {np.abs(far).max():.1e} mm")


if __name__ == "__main__":
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if sys.argv[1:2] == ["check"]:
        check(Path(sys.argv[2]), Path(sys.argv[3]))
        sys.exit()
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    sound(np.random.default_rng(5))
    unsound(np.random.default_rng(6))
    rows, values = [], {}
    for folder in sorted(FILES.iterdir()):
        if not folder.name.startswith("bad_"):
            # GDCM does not read pydicom's RLE; the voxels are those of another series.
            same = {"rle": "explicit", "rle_bytes": "bytes"}
            image = read(FILES / same.get(folder.name, folder.name))
            rows.append(row(folder.name, image))
            values[folder.name] = sitk.GetArrayFromImage(image).astype(np.float32)[None]
    (HERE / "dicom.tsv").write_text("\n".join("\t".join(r) for r in rows) + "\n")
    np.savez_compressed(HERE / "dicom.npz", **values)
