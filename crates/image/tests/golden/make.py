"""Makes the golden files beside it, from nnunetv2 2.8.1, SimpleITK 2.5.7, nibabel 5.4.2 and numpy.

    python make.py [folder with nnUNet_raw/Dataset004_Hippocampus]
"""

import gzip
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

HERE = Path(__file__).parent
FILES = HERE / "nifti"
TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])


def save(name, data, *, zooms=(0.7, 1.3, 4.0), turn=np.eye(3), shift=(-12.5, 30.25, 7.75), order="<", **fields):
    """Writes a NIfTI-1 file; `fields` overwrite what its header says."""
    header = nib.Nifti1Header(endianness=order)
    kind = np.dtype(data.dtype).newbyteorder(order)
    header.set_data_dtype(kind)
    header.set_data_shape(data.shape)
    affine = nib.affines.from_matvec(np.asarray(turn) * zooms, shift)
    raw = header.structarr
    raw["pixdim"][1:4] = zooms
    header.set_sform(affine, code=1)
    raw["vox_offset"], raw["magic"], raw["scl_slope"], raw["scl_inter"], raw["xyzt_units"] = 352, b"n+1", 1, 0, 10
    if fields.pop("qform", True):
        header.set_qform(affine, code=1, strip_shears=True)
        raw["pixdim"][1:4] = zooms
    for key, value in fields.items():
        raw[key] = value
    content = raw.tobytes() + b"\0" * 4 + data.astype(kind).tobytes(order="F")
    path = FILES / name
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)


def nifti_files(rng):
    small = (4, 3, 2)
    integers = rng.integers(-900, 2000, size=small)
    save("oblique_i16.nii.gz", integers.astype(np.int16), turn=TURN)
    save("big_endian_f32.nii", rng.normal(size=small).astype(np.float32), turn=TURN, order=">")
    save("scaled_u16.nii.gz", rng.integers(0, 60000, size=small).astype(np.uint16), scl_slope=0.37, scl_inter=-1024.1)
    save("scaled_i32.nii", rng.integers(-(2**31), 2**31, size=small).astype(np.int32), scl_slope=1.7, scl_inter=0.3)
    save("slope_zero.nii.gz", integers.astype(np.float64), scl_slope=0, scl_inter=10)
    save("slope_nan.nii.gz", integers.astype(np.int8), scl_slope=np.nan, scl_inter=np.nan)
    save("u64_big_endian.nii.gz", rng.integers(0, 2**63, size=small).astype(np.uint64), order=">")
    save("i64.nii.gz", rng.integers(-(2**40), 2**40, size=small))
    save("u32.nii", rng.integers(0, 2**32, size=small).astype(np.uint32))
    save("u8.nii", rng.integers(0, 256, size=small).astype(np.uint8))
    save("flat.nii.gz", integers[:, :, 0].astype(np.int16), zooms=(0.5, 2.0, 1.0))
    save("one_slice.nii.gz", integers[:, :, :1].astype(np.int16))
    save("four_axes.nii.gz", rng.normal(size=(4, 3, 2, 3)).astype(np.float32), turn=TURN)
    save("microns.nii.gz", integers.astype(np.int16), xyzt_units=3, turn=TURN)
    save("metres.nii.gz", integers.astype(np.int16), xyzt_units=1)
    save("flipped.nii.gz", integers.astype(np.int16), turn=np.diag([-1.0, 1.0, -1.0]))
    save("left_handed.nii.gz", integers.astype(np.int16), turn=TURN @ np.diag([1.0, 1.0, -1.0]))
    save("qform_only.nii.gz", integers.astype(np.int16), turn=TURN, sform_code=0)
    save("sform_only.nii.gz", integers.astype(np.int16), turn=TURN, qform_code=0, qform=False)
    save("no_form.nii.gz", integers.astype(np.int16), sform_code=0, qform_code=0)
    shear = np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    save("sheared.nii.gz", integers.astype(np.int16), turn=shear, qform=False)
    moved = np.eye(3)[[1, 0, 2]]
    save("forms_differ.nii.gz", integers.astype(np.int16), sform_code=2, srow_x=[*(moved[0] * 2), 1], srow_y=[*(moved[1] * 2), 2])


def row(name, reader, data, properties):
    spacing = [float(v) for v in properties["spacing"]]
    frame = []
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        axes = len(stuff["spacing"])
        direction = np.array(stuff["direction"]).reshape(axes, axes)
        full, origin = np.eye(3), np.zeros(3)
        axes = min(axes, 3)
        full[:axes, :axes], origin[:axes] = direction[:axes, :axes], stuff["origin"][:axes]
        frame = [*origin, *full.ravel()]
    else:
        affine = properties["nibabel_stuff"]["original_affine"] * np.array([[-1], [-1], [1], [1]])
        frame = [*affine[:3, 3], *(affine[:3, :3] / spacing[::-1]).ravel()]
    return [name, reader, *map(str, data.shape), *(repr(float(v)) for v in [*spacing, *frame])]


def geometry():
    """One line per file and reader: what is read, or that it is refused; the values go to an archive."""
    rows, values = [], {}
    for path in sorted(FILES.iterdir()):
        for name, reader in (("SimpleITKIO", SimpleITKIO()), ("NibabelIO", NibabelIO())):
            try:
                data, properties = reader.read_images([str(path)])
            except Exception:
                rows.append([path.name, name, "refused"])
                continue
            rows.append(row(path.name, name, data, properties))
            values[f"{name}_{path.name}"] = np.ascontiguousarray(data)
    (HERE / "geometry.tsv").write_text("\n".join("\t".join(r) for r in rows) + "\n")
    np.savez_compressed(HERE / "values.npz", **values)


def written():
    """A segmentation as the two writers store it: labels (z + 2 y + 3 x) mod 4 on the grid of oblique_i16."""
    for name, io, ending in (("itk", SimpleITKIO(), ".nii.gz"), ("nibabel", NibabelIO(), ".nii")):
        _, properties = io.read_seg(str(FILES / "oblique_i16.nii.gz"))
        z, y, x = np.indices((2, 3, 4))
        io.write_seg((z + 2 * y + 3 * x) % 4, str(HERE / f"written_by_{name}{ending}"), properties)


def resampling(rng):
    """Arrays with suffix in, out, and p = spacing, new spacing, force_separate_z (0 null, 1 true, 2 false), order."""
    arrays = {}
    cases = [
        ((2, 7, 9, 8), (5, 13, 8), (2, 1, 1), (3, 0.7, 1.1), None),
        ((1, 6, 10, 11), (12, 7, 15), (5, 1, 1), (2.5, 1.4, 0.7), None),
        ((1, 9, 4, 8), (9, 7, 5), (1, 4, 1), (1, 2, 1.6), None),
        ((1, 1, 9, 12), (1, 14, 7), (999, 1, 1), (999, 0.6, 1.7), None),
        ((1, 5, 6, 7), (8, 6, 7), (5, 1, 1), (3, 1, 1), None),
        ((1, 5, 6, 7), (8, 9, 11), (1, 1, 1), (4, 1, 1), None),
        ((1, 5, 6, 7), (8, 9, 11), (1, 1.5, 1), (4, 1, 1), True),
        ((1, 5, 6, 7), (8, 9, 11), (8, 1, 1), (4, 1, 1), False),
        ((1, 1, 1, 9), (3, 2, 5), (1, 1, 1), (1, 1, 2), None),
        ((1, 12, 17, 2), (24, 23, 14), (1, 1, 1), (1, 1, 1), None),
    ]
    for number, (shape, new_shape, spacing, new_spacing, force) in enumerate(cases):
        image = (rng.normal(size=shape) * 300 + 40).astype(np.float32)
        labels = rng.choice([-1, 0, 1, 2, 7], p=[0.1, 0.4, 0.3, 0.15, 0.05], size=shape).astype(np.int16)
        for kind, data, order in (("image", image, 3), ("linear", image, 1), ("labels", labels[:1], 1)):
            out = resample_data_or_seg_to_shape(
                data, new_shape, np.array(spacing), np.array(new_spacing), is_seg=kind == "labels", order=order, order_z=0, force_separate_z=force
            )
            key = f"{kind}_{number}"
            arrays[f"{key}_in"], arrays[f"{key}_out"] = data, out.astype(data.dtype)
            arrays[f"{key}_p"] = np.array([*spacing, *new_spacing, {None: 0, True: 1, False: 2}[force], order], np.float32)
    np.savez_compressed(HERE / "resample.npz", **arrays)


def hippocampus(folder):
    """Geometry, sum and largest value of some real images."""
    rows = []
    for name in ("hippocampus_001", "hippocampus_150", "hippocampus_367"):
        for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
            path = folder / "nnUNet_raw" / "Dataset004_Hippocampus" / part / (name + ending)
            data, properties = SimpleITKIO().read_images([str(path)])
            sums = [repr(float(data.astype(np.float64).sum())), repr(float(data.max()))]
            rows.append(row(f"{part}/{name}{ending}", "SimpleITKIO", data, properties) + sums)
    (HERE / "hippocampus.tsv").write_text("\n".join("\t".join(r) for r in rows) + "\n")


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    nifti_files(np.random.default_rng(1))
    geometry()
    written()
    resampling(np.random.default_rng(2))
    if len(sys.argv) > 1:
        hippocampus(Path(sys.argv[1]))
