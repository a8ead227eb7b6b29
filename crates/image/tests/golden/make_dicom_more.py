"""Makes `dicom_more/`, `dicom_more.tsv` and `dicom_more.npz` beside it: small drawn series with what hospitals' archives do to them,
and what SimpleITK 2.5.7 reads from those that are sound. Where GDCM below it reads something else than the standard says, the numbers
are pydicom's, each slice by itself and sorted by position; the second column of the table tells whose they are.

    python make_dicom_more.py
"""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid,
)

import make_dicom as drawn

HERE = Path(__file__).parent
FILES = drawn.FILES = HERE / "dicom_more"
series, NORMAL, ROW, COLUMN = drawn.series, drawn.NORMAL, drawn.ROW, drawn.COLUMN


def without(*names):
    def change(ds, k):
        for name in names:
            if name in ds:
                delattr(ds, name)

    return change


def only(k, change):
    return lambda ds, slice: change(ds) if slice == k else None


def shifted(by):
    """Moves slices along their normal, by millimetres."""

    def change(ds, k):
        place = np.array(ds.ImagePositionPatient, float) + by[k] * NORMAL
        ds.ImagePositionPatient = [round(float(v), 6) for v in place]

    return change


def private(ds, k):
    block = ds.private_block(0x0029, "DRAWN HEADER", create=True)
    block.add_new(0x10, "OB", bytes(range(64)))
    block.add_new(0x11, "UN", b"\0\1\2\3")
    inner = Dataset()
    inner.Rows, inner.Columns, inner.PixelSpacing, inner.ImagePositionPatient = 99, 98, [9, 9], [7, 7, 7]
    nested = inner.private_block(0x0029, "DRAWN NESTED", create=True)
    nested.add_new(0x01, "LO", "Secret^Nested")
    block.add_new(0x12, "SQ", Sequence([inner, inner]))
    late = ds.private_block(0x7FE1, "DRAWN TAIL", create=True)
    late.add_new(0x01, "OW", b"\7\0" * 20)
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.Rows, icon.Columns = 1, "MONOCHROME2", 2, 2
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = b"\1\2\3\4"
    icon["PixelData"].VR = "OB"
    ds.IconImageSequence = Sequence([icon])
    ds.ReferencedImageSequence = Sequence([])
    ds.SpecificCharacterSet, ds.SeriesDescription = "ISO_IR 100", "Sch\u00e4del"
    ds.add_new(0xFFFCFFFC, "OB", b"\0" * 6)


def overlaid(ds, k):
    """Overlay bits above the stored ones, as old archives keep them."""
    data = np.frombuffer(ds.PixelData, "<u2") | 0xA000
    ds.PixelData = data.astype("<u2").tobytes()


def one_file(name, volume, order, finish=None, change=None):
    """Enhanced MR with its frames in another order than their places."""
    folder = FILES / name
    folder.mkdir()
    ds = drawn.head(name, EnhancedMRImageStorage)
    ds.Modality, ds.NumberOfFrames = "MR", len(volume)
    frames = []
    for k in order:
        frame, place, plane, measures, value = (Dataset() for _ in range(5))
        place.ImagePositionPatient = [round(float(v), 6) for v in np.array([-20.5, 11.25, 40]) + NORMAL * 2.5 * k]
        plane.ImageOrientationPatient = [*ROW, *COLUMN]
        measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 2
        value.RescaleIntercept, value.RescaleSlope, value.RescaleType = -100 + k, 0.5 + k, "US"
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = Sequence([place]), Sequence([plane])
        frame.PixelMeasuresSequence, frame.PixelValueTransformationSequence = Sequence([measures]), Sequence([value])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    drawn.pixels(ds, np.stack([volume[k] for k in order]))
    if change:
        change(ds)
    if finish:
        finish(ds)
    ds.save_as(folder / "frames.dcm", enforce_file_format=True)


def sound(rng):
    short = rng.integers(-32768, 32768, size=(4, 3, 5)).astype("<i2")
    wide = rng.integers(0, 65536, size=(4, 3, 5)).astype("<u2")
    bytes_ = (wide % 256).astype("u1")
    series("private", short, change=private)
    series("private_implicit", short, change=private, finish=drawn.recoded(ImplicitVRLittleEndian))
    series("private_big", short, change=private, finish=drawn.recoded(ExplicitVRBigEndian))
    series("few_tags", short, change=without(
        "InstanceNumber", "SeriesNumber", "SeriesDescription", "Modality", "StudyInstanceUID", "FrameOfReferenceUID", "PatientName",
        "PatientID", "PatientBirthDate", "SliceThickness"))
    series("no_instance_uids", short, change=without("SOPInstanceUID"))
    series("no_photometric", short, change=without("PhotometricInterpretation"))
    series("numbered_otherwise", short, change=lambda ds, k: setattr(ds, "InstanceNumber", [7, 1, 9, 3][k]))
    series("all_one_number", short, change=lambda ds, k: setattr(ds, "InstanceNumber", 1))

    def spelt(ds, k):
        for name, text in [("PixelSpacing", " +0.750\\5.0E-1 "), ("RescaleSlope", " 2. "), ("RescaleIntercept", "-1.0e+1")]:
            ds.add_new(pydicom.tag.Tag(name), "DS", text)

    series("spelt", wide, change=spelt)

    def half(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-32768.25"

    series("wide_rescaled", wide, change=half)

    def negative(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = f"{-1.5 - k}", f"{1000 * k}"

    series("falling", short, change=negative)
    series("no_slope", short, change=lambda ds, k: setattr(ds, "RescaleIntercept", "-1024"))
    series("twelve_overlaid", wide % 4096, stored=12, change=overlaid)
    series("odd_bytes", bytes_[:, :, :3].copy(), change=lambda ds, k: setattr(ds, "PixelData", ds.PixelData + b"\0"))
    series("bytes_as_words", bytes_[:, :, :4].copy(), change=lambda ds, k: setattr(ds["PixelData"], "VR", "OW"))
    series("longer", short, change=lambda ds, k: setattr(ds, "PixelData", ds.PixelData + b"\7" * 10))
    series("narrow", wide[:, :2, :], change=lambda ds, k: setattr(ds, "PixelSpacing", [3.5, 0.25]))
    series("nearly_even", short, change=shifted([0, 0.01, -0.01, 0.005]))
    series("one_slice", short[:1])

    # The same instances again under other names.
    series("copied", short)
    for path in sorted((FILES / "copied").iterdir())[1:3]:
        shutil.copy(path, path.with_name(f"copy_of_{path.name}"))
    one_file("frames_back", wide, [3, 2, 1, 0])
    one_file("frames_mixed", wide, [2, 0, 3, 1])
    one_file("frames_rle", wide, [0, 1, 2, 3], finish=lambda ds: ds.compress(RLELossless, generate_instance_uid=False))


def unsound(rng):
    short = rng.integers(-1000, 3000, size=(4, 3, 4)).astype("<i2")

    def bad(name, change=None, **more):
        series(f"bad_{name}", short, change=change, **more)
        return sorted((FILES / f"bad_{name}").iterdir())

    path = bad("half_pixels")[1]
    path.write_bytes(path.read_bytes()[:-11])
    path = bad("half_header")[2]
    path.write_bytes(path.read_bytes()[:700])
    path = bad("empty")[0]
    path.write_bytes(b"")
    path = bad("no_preamble")[3]
    path.write_bytes(path.read_bytes()[132:])
    bad("copied")
    for path in sorted((FILES / "bad_copied").iterdir()):
        if np.allclose(pydicom.dcmread(path).ImagePositionPatient, np.array([-20.5, 11.25, 40]) + NORMAL * 2.5, atol=1e-4):
            path.unlink()
    bad("no_positions", without("ImagePositionPatient"))
    bad("no_orientations", without("ImageOrientationPatient"))
    bad("no_spacings", without("PixelSpacing"))
    bad("no_rows", only(1, lambda ds: delattr(ds, "Rows")))
    bad("no_bits", only(1, lambda ds: delattr(ds, "BitsAllocated")))
    bad("no_sign", only(1, lambda ds: delattr(ds, "PixelRepresentation")))
    bad("no_samples", only(1, lambda ds: delattr(ds, "SamplesPerPixel")))
    bad("no_series", only(1, lambda ds: delattr(ds, "SeriesInstanceUID")))
    bad("table", only(1, lambda ds: setattr(ds, "ModalityLUTSequence", Sequence([Dataset()]))))
    bad("word", only(1, lambda ds: ds.add_new("ImagePositionPatient", "LO", "1\\Secret^Name\\3")))
    bad("slope_word", only(1, lambda ds: ds.add_new("RescaleSlope", "LO", "Secret^Name")))
    bad("slope_endless", only(1, lambda ds: ds.add_new("RescaleSlope", "DS", "inf")))
    bad("slope_nought", only(1, lambda ds: ds.add_new("RescaleSlope", "DS", "0")))
    bad("steps", shifted([0, 0, 1.5, 3.5]))
    bad("creeping", shifted([0, 0.04, 0.12, 0.0]))

    def echoes(ds, k):
        ds.EchoTime, ds.SOPInstanceUID = 10 * (k % 2 + 1), generate_uid(entropy_srcs=[f"echo{k}"])
        ds.ImagePositionPatient = [round(float(v), 6) for v in np.array([-20.5, 11.25, 40]) + NORMAL * 2.5 * (k // 2)]

    bad("echoes", echoes)

    def real(ds, k):
        del ds.PixelData
        ds.FloatPixelData = np.zeros(12, "<f4").tobytes()
        ds.BitsAllocated = ds.BitsStored = 32
        ds.HighBit = 31

    bad("floats", real)
    one_file("bad_frame_position", short, [0, 1, 2, 3],
             change=lambda ds: delattr(ds.PerFrameFunctionalGroupsSequence[2], "PlanePositionSequence"))
    one_file("bad_frame_count", short, [0, 1, 2, 3], change=lambda ds: setattr(ds, "NumberOfFrames", 3))
    one_file("bad_frame_pixels", short, [0, 1, 2, 3], change=lambda ds: setattr(ds, "PixelData", ds.PixelData[:-4]))
    deflated = FILES / "bad_deflated"
    deflated.mkdir()
    source = pydicom.dcmread(FILES / "private" / "03.dcm")
    source.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    source.save_as(deflated / "00.dcm", enforce_file_format=True)


def by_pydicom(folder):
    """Values, spacing, origin and direction from what the standard says, slice by slice."""
    slices = {}
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path)
        ds.PhotometricInterpretation = ds.get("PhotometricInterpretation", "MONOCHROME2")
        data = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns).astype(float)
        for k, frame in enumerate(data):
            groups = [ds]
            if "PerFrameFunctionalGroupsSequence" in ds:
                item = ds.PerFrameFunctionalGroupsSequence[k]
                groups = [element.value[0] for element in item]
            get = lambda name, other=None: next((g.get(name) for g in groups if name in g), other)  # noqa: E731
            axes, place = np.array(get("ImageOrientationPatient"), float), np.array(get("ImagePositionPatient"), float)
            normal = np.cross(axes[:3], axes[3:])
            values = frame * float(get("RescaleSlope", 1)) + float(get("RescaleIntercept", 0))
            slices[round(float(place @ normal), 3)] = (values, place, axes, normal, [float(v) for v in get("PixelSpacing")])
    order = [slices[key] for key in sorted(slices)]
    _, place, axes, normal, spacing = order[0]
    step = np.linalg.norm(order[-1][1] - place) / (len(order) - 1) if len(order) > 1 else float(ds.SliceThickness)
    image = sitk.GetImageFromArray(np.stack([s[0] for s in order]).astype(np.float32))
    image.SetSpacing([spacing[1], spacing[0], step])
    image.SetOrigin(place.tolist())
    image.SetDirection(np.stack([axes[:3], axes[3:], normal], 1).ravel().tolist())
    return image


def same(a, b):
    return (a.GetSize() == b.GetSize()
            and np.array_equal(sitk.GetArrayFromImage(a).astype(np.float32), sitk.GetArrayFromImage(b).astype(np.float32))
            and all(np.allclose(f(a), f(b), atol=2e-6) for f in (
                sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection)))


if __name__ == "__main__":
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    sound(np.random.default_rng(15))
    unsound(np.random.default_rng(16))
    rows, values = [], {}
    for folder in sorted(FILES.iterdir()):
        if folder.name.startswith("bad_"):
            try:
                image = drawn.read(folder)
                print(f"{folder.name}: SimpleITK reads {image.GetSize()} {image.GetSpacing()}")
            except RuntimeError as error:
                print(f"{folder.name}: SimpleITK refuses")
            continue
        try:
            theirs = drawn.read(folder)
        except RuntimeError as error:
            print(f"{folder.name}: SimpleITK refuses")
            theirs = None
        image, who = theirs, "SimpleITK"
        plain = by_pydicom(folder)
        if theirs is None or not same(theirs, plain):
            image, who = plain, "pydicom"
            if theirs is not None:
                print(f"{folder.name}: SimpleITK differs: {theirs.GetSize()} {theirs.GetSpacing()} {theirs.GetOrigin()}, "
                      f"pydicom {plain.GetSize()} {plain.GetSpacing()} {plain.GetOrigin()}")
        row = drawn.row(folder.name, image)
        row[1] = who
        rows.append(row)
        values[folder.name] = sitk.GetArrayFromImage(image).astype(np.float32)[None]
    (HERE / "dicom_more.tsv").write_text("\n".join("\t".join(r) for r in rows) + "\n")
    np.savez_compressed(HERE / "dicom_more.npz", **values)
