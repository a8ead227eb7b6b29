"""Makes `formats/`, `written/`, `formats.tsv` and `formats.npz` beside it, from nnunetv2 2.8.1, SimpleITK 2.5.7, nibabel 5.4.2,
tifffile 2026.3.3, scikit-image 0.26 and Pillow.

    python make_formats.py                  makes the files
    python make_formats.py check FOLDER     reads what the tests wrote there (NNUNET_WRITTEN=FOLDER cargo test -p nnunet-image)
                                            with the reference's readers
"""

import bz2
import contextlib
import gzip
import io
import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from PIL import Image

import make

HERE = Path(__file__).parent
FILES = HERE / "formats"
WRITTEN = HERE / "written"
READERS = [NaturalImage2DIO, SimpleITKIO, Tiff3DIO, NibabelIO, NibabelIOWithReorient, SimpleITKIOWithReorient]
ITK = [SimpleITKIO, SimpleITKIOWithReorient]
TURN = np.array([[0, 0, -1], [0.8, 0.6, 0], [0.6, -0.8, 0]])
SHORT = np.arange(-7, 17, dtype="<i2") * 101
DIRECTIONS = "space directions: (0.7,0.1,0) (0,1.3,0.2) (0,-0.3,4)\nspace origin: (1,-2.5,3)\n"


def put(name, content):
    (FILES / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def itk_files(rng):
    """Written by ITK itself, in every type."""
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"):
        data = (rng.normal(size=(2, 3, 4)) * 1000).astype(kind) if "float" in kind else rng.integers(
            np.iinfo(kind).min, np.iinfo(kind).max, size=(2, 3, 4), dtype=kind)
        image = sitk.GetImageFromArray(data)
        image.SetSpacing((0.7, 1.3, 4))
        image.SetOrigin((-12.5, 30.25, 7.75))
        image.SetDirection(TURN.ravel())
        for ending in ("nrrd", "mha"):
            sitk.WriteImage(image, str(FILES / f"itk_{kind}.{ending}"), kind[-1] == "6")
        if kind in ("uint8", "int16", "uint16", "float32", "float64"):
            sitk.WriteImage(image, str(FILES / f"itk_{kind}.gipl"))
    sitk.WriteImage(image, str(FILES / "itk_pair.mhd"), True)
    sitk.WriteImage(image, str(FILES / "itk_pair.nhdr"), True)
    short = sitk.Cast(image, sitk.sitkInt16)
    sitk.WriteImage(short, str(FILES / "itk_zipped.gipl.gz"))
    flat = sitk.GetImageFromArray(rng.integers(0, 99, size=(3, 5)).astype(np.int16))
    flat.SetSpacing((0.5, 2))
    flat.SetOrigin((3, 4))
    flat.SetDirection((0, 1, -1, 0))
    for ending in ("nrrd", "mha", "gipl"):
        sitk.WriteImage(flat, str(FILES / f"itk_flat.{ending}"))
    four = sitk.GetImageFromArray(rng.integers(0, 99, size=(3, 2, 2, 2)).astype(np.int16), isVector=False)
    four.SetSpacing((0.5, 2, 3, 4))
    for ending in ("nrrd", "mha"):
        sitk.WriteImage(four, str(FILES / f"itk_four.{ending}"))
    colour = sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True)
    for ending in ("nrrd", "mha"):
        sitk.WriteImage(colour, str(FILES / f"itk_colour.{ending}"))


def mha(name, fields, data=SHORT.tobytes(), axes=3, sizes="4 3 2", kind="MET_SHORT", file="LOCAL"):
    put(name, f"ObjectType = Image\nNDims = {axes}\n{fields}DimSize = {sizes}\nElementType = {kind}\nElementDataFile = {file}\n".encode() + data)


def meta_files():
    base = "BinaryData = True\nBinaryDataByteOrderMSB = False\nElementSpacing = 0.7 1.3 4\nOffset = 1 -2.5 3\n"
    mha("plain.mha", "Comment = spacing: none\n" + base)
    mha("negative.mha", base.replace("0.7", "-0.7"))
    mha("zero.mha", base.replace("0.7", "0"))
    mha("nan.mha", base.replace("0.7", "nan"))
    mha("element_size.mha", "BinaryData = True\nElementSize = 0.5 2 3\n")
    mha("both.mha", "BinaryData = True\nElementSize = 0.5 2 3\nElementSpacing = 1 2 9\n")
    mha("matrix.mha", base + "TransformMatrix = 0 1 0 0 0 1 1 0 0\nAnatomicalOrientation = RAS\nCenterOfRotation = 5 5 5\n")
    mha("long_matrix.mha", base + "TransformMatrix = 0 2 0 0 0 1 1 0 0\n")
    mha("singular.mha", base + "TransformMatrix = 1 0 0 1 0 0 0 0 1\n")
    mha("rotation.mha", base.replace("Offset", "Position") + "Rotation = 0 1 0 0 0 1 1 0 0\n")
    mha("orientation.mha", base.replace("Offset", "Origin") + "Orientation = 0 1 0 0 0 1 1 0 0\n")
    mha("big.mha", base.replace("MSB = False", "MSB = True"), SHORT.astype(">i2").tobytes())
    mha("element_big.mha", "BinaryData = True\nElementByteOrderMSB = True\n", SHORT.astype(">i2").tobytes())
    mha("text.mha", "BinaryData = False\n", (" ".join(map(str, SHORT)) + "\n").encode())
    mha("slope.mha", base + "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = 10\n")
    mha("from_the_end.mha", base + "HeaderSize = -1\n", b"some bytes" + SHORT.tobytes())
    mha("long.mha", base, np.arange(24, dtype="<i4").tobytes(), kind="MET_LONG")
    packed = zlib.compress(SHORT.tobytes())
    mha("zlib.mha", base + f"CompressedData = True\nCompressedDataSize = {len(packed)}\n", packed)
    mha("crlf.mha", base.replace("\n", "\r\n"))
    mha("colons.mha", base.replace(" = ", ": "))
    mha("short_spacing.mha", base.replace("0.7 1.3 4", "0.7 1.3"))
    mha("truncated.mha", base, SHORT.tobytes()[:-3])
    mha("flat.mha", "BinaryData = True\nElementSpacing = 0.5 2\nOffset = 3 4\nTransformMatrix = 0 1 1 0\n", axes=2, sizes="6 4")
    mha("channels.mha", "BinaryData = True\nElementNumberOfChannels = 2\n", sizes="3 2 2")
    put("beside.raw", b"abc" + SHORT.tobytes())
    mha("skip.mhd", base + "HeaderSize = 3\n", b"", file="beside.raw")
    mha("end.mhd", base + "HeaderSize = -1\n", b"", file="beside.raw")
    for k in (1, 2):
        put(f"slice{k:02}.raw", SHORT[12 * k - 12 : 12 * k].tobytes())
    mha("list.mhd", base, b"slice01.raw\nslice02.raw\n", file="LIST")
    mha("pattern.mhd", base, b"", file="slice%02d.raw 1 2 1")
    mha("missing.mhd", base, b"", file="gone.raw")


def nrrd(name, fields, data=SHORT.tobytes(), encoding="raw", dimension=3, sizes="4 3 2", kind="short", endian="endian: little\n"):
    end = "" if data is None else "\n"
    head = f"NRRD0004\ntype: {kind}\ndimension: {dimension}\nsizes: {sizes}\n{endian}encoding: {encoding}\n{fields}{end}"
    put(name, head.encode() + (data or b""))


def nrrd_files():
    for space in ("LPS", "left-posterior-superior", "RAS", "right-anterior-superior", "LAS", "scanner-xyz", "RPS", "LPST"):
        nrrd(f"space_{space}.nrrd", f"space: {space}\n{DIRECTIONS}")
    lps = "space: left-posterior-superior\n" + DIRECTIONS
    nrrd("space_dimension.nrrd", "space dimension: 3\n" + DIRECTIONS)
    nrrd("origin_alone.nrrd", "space: RAS\nspace origin: (1,2,3)\n")
    nrrd("spacings.nrrd", "spacings: 0.7 1.3 4\n")
    nrrd("spacing_negative.nrrd", "spacings: -0.7 1.3 4\n")
    nrrd("spacing_nan.nrrd", "spacings: nan 1.3 4\n")
    nrrd("spacing_zero.nrrd", "spacings: 0 1.3 4\n")
    nrrd("spacing_in_space.nrrd", "space: RAS\nspace origin: (1,2,3)\nspacings: 1 2 3\n")
    nrrd("mins.nrrd", "spacings: 0.7 1.3 4\naxis mins: 1 2 3\n")
    nrrd("bounds.nrrd", "axis mins: 1 2 3\naxis maxs: 5 6 7\n")
    nrrd("bounds_of_nodes.nrrd", "axis mins: 1 2 3\naxis maxs: 5 6 7\ncenters: node node node\n")
    nrrd("nothing.nrrd", "")
    nrrd("gzip.nrrd", lps, gzip.compress(SHORT.tobytes(), mtime=0), "gzip")
    nrrd("gzip_members.nrrd", lps, gzip.compress(SHORT[:9].tobytes(), mtime=0) + gzip.compress(SHORT[9:].tobytes(), mtime=0), "gz")
    nrrd("bzip2.nrrd", lps, bz2.compress(SHORT.tobytes()), "bzip2")
    nrrd("text.nrrd", lps, " ".join(map(str, SHORT)).encode(), "ascii")
    nrrd("commas.nrrd", lps, ",".join(map(str, SHORT)).encode(), "text")
    nrrd("hex.nrrd", lps, SHORT.tobytes().hex().encode(), "hex")
    nrrd("big.nrrd", lps, SHORT.astype(">i2").tobytes(), endian="endian: big\n")
    nrrd("no_endian.nrrd", lps, endian="")
    nrrd("lines.nrrd", lps + "line skip: 1\n", b"one line\n" + SHORT.tobytes())
    nrrd("bytes.nrrd", lps + "byte skip: 3\n", b"abc" + SHORT.tobytes())
    nrrd("from_the_end.nrrd", lps + "byteskip: -1\n", b"some bytes" + SHORT.tobytes())
    nrrd("gzip_bytes.nrrd", lps + "byte skip: 3\n", gzip.compress(b"abc" + SHORT.tobytes(), mtime=0), "gzip")
    nrrd("gzip_lines.nrrd", lps + "line skip: 1\n", b"one line\n" + gzip.compress(SHORT.tobytes(), mtime=0), "gzip")
    nrrd("vector.nrrd", "space: LPS\nspace directions: none (1,0,0) (0,1,0) (0,0,4)\nkinds: vector domain domain domain\n", dimension=4, sizes="2 3 2 2")
    nrrd("list_axis.nrrd", "kinds: domain domain domain list\n", dimension=4, sizes="3 2 2 2")
    nrrd("four.nrrd", "kinds: domain domain domain time\nspacings: 1 2 3 4\n", dimension=4, sizes="3 2 2 2")
    nrrd("flat.nrrd", "space dimension: 2\nspace directions: (0,0.5) (2,0)\nspace origin: (3,4)\n", dimension=2, sizes="6 4")
    nrrd("flat_in_space.nrrd", "space: LPS\nspace directions: (0,0.5,0) (2,0,0)\n", dimension=2, sizes="6 4")
    nrrd("sheared.nrrd", "space: LPS\nspace directions: (1,0,0) (0.1,1,0) (0,0,1)\nspace origin: (1,2,3)\n")
    nrrd("singular.nrrd", "space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)\nspace origin: (1,2,3)\n")
    nrrd("nan_origin.nrrd", "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (nan,2,3)\n")
    nrrd("comments.nrrd", "# a comment\nkey:=a: value\ncontent: nothing\n" + lps + "measurement frame: (1,0,0) (0,1,0) (0,0,1)\n")
    nrrd("unknown_field.nrrd", lps + "colour: blue\n")
    nrrd("capitals.nrrd", "Space: lps\n" + DIRECTIONS)
    nrrd("twice.nrrd", lps + "space: LPS\n")
    nrrd("truncated.nrrd", lps, SHORT.tobytes()[:-3])
    nrrd("long.nrrd", lps, kind="long")
    nrrd("beside.nhdr", lps + "data file: slices.raw\n", None)
    nrrd("beside_skip.nhdr", lps + "byte skip: 3\ndata file: beside.raw\n", b"")
    nrrd("list.nhdr", lps + "data file: LIST\nslice01.raw\nslice02.raw\n", None)
    nrrd("pattern.nhdr", lps + "data file: slice%02d.raw 1 2 1\n", b"")
    put("slices.raw", SHORT.tobytes())


def nifti_files():
    """Beyond those of make.py: version 2, and axes of length 1."""
    affine = nib.affines.from_matvec(TURN * (0.7, 1.3, 4), (-12.5, 30.25, 7.75))
    data = SHORT.reshape(4, 3, 2)
    nib.save(nib.Nifti2Image(data, affine), FILES / "version_2.nii.gz")
    nib.save(nib.Nifti2Image(data, affine), FILES / "version_2.nii")
    header = nib.Nifti2Header(endianness=">")
    header.set_data_dtype(np.dtype(">f8"))
    image = nib.Nifti2Image(data * 1.37, None, header)
    image.header.set_zooms((0.7, 1.3, 4))
    image.set_qform(affine, 1)
    image.header["sform_code"] = 0
    image.to_filename(FILES / "version_2_big.nii")
    scaled = nib.Nifti2Image(data, affine)
    scaled.header.set_slope_inter(0.37, -1024.1)
    nib.save(scaled, FILES / "version_2_scaled.nii.gz")
    nib.save(nib.Nifti1Image(data[..., None], affine), FILES / "one_time.nii.gz")
    nib.save(nib.Nifti1Image(SHORT.reshape(4, 3, 1, 2), affine), FILES / "one_slice_two_times.nii.gz")
    nib.save(nib.Nifti1Image(SHORT.reshape(4, 3, 1, 1, 2), affine), FILES / "five_axes.nii.gz")
    nib.save(nib.Nifti1Image(SHORT, np.eye(4)), FILES / "one_axis.nii.gz")


def tiff_files(rng):
    def save(name, shape, kind="uint16", spacing=None, **how):
        data = rng.random(shape) > 0.5 if kind == "?" else (rng.random(shape) * 200).astype(kind)
        tifffile.imwrite(FILES / name, data, **how)
        if spacing is not None:
            (FILES / name.replace(".tif", "")[:-5]).with_suffix(".json").write_text(json.dumps({"spacing": spacing}))

    save("stack_0000.tif", (5, 7, 6), spacing=[3, 0.5, 0.75])
    save("raw_0000.tif", (5, 7, 6), spacing=[3, 0.5])
    for kind in ("uint8", "int8", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "?"):
        save(f"type_{kind.replace('?', 'bool')}.tif", (5, 7, 6), kind, photometric=None if kind == "?" else "minisblack")
    save("big_endian.tif", (5, 7, 6), byteorder=">")
    save("bigtiff.tif", (5, 7, 6), bigtiff=True)
    save("zlib.tif", (5, 7, 6), compression="zlib")
    save("zlib_predictor.tif", (5, 7, 6), compression="zlib", predictor=True)
    save("lzw.tif", (5, 7, 6), compression="lzw")
    save("packbits.tif", (5, 7, 6), "uint8", compression="packbits", photometric="minisblack")
    save("zstd.tif", (5, 7, 6), compression="zstd")
    save("tiles.tif", (5, 30, 37), "uint8", tile=(16, 16), photometric="minisblack", compression="zlib")
    save("strips.tif", (5, 7, 6), rowsperstrip=2)
    save("white_is_zero.tif", (5, 7, 6), photometric="miniswhite")
    save("no_description.tif", (5, 7, 6), metadata=None)
    save("imagej.tif", (5, 7, 6), imagej=True)
    save("imagej_slices.tif", (5, 7, 6), imagej=True, metadata={"axes": "ZYX"})
    save("imagej_hyper.tif", (5, 2, 7, 6), imagej=True, metadata={"axes": "ZCYX"})
    save("ome.tif", (5, 7, 6), ome=True, metadata={"axes": "ZYX"})
    save("ome_hyper.tif", (5, 2, 7, 6), ome=True, metadata={"axes": "ZCYX"})
    save("one_slice.tif", (1, 7, 6))
    save("thin.tif", (5, 7, 3), "uint8")
    save("three_slices.tif", (3, 7, 6), "uint8")
    save("flat.tif", (7, 6))
    save("colour.tif", (7, 6, 3), "uint8", photometric="rgb")
    save("alpha.tif", (7, 6, 4), "uint8", photometric="rgb")
    save("planes.tif", (3, 7, 6), "uint8", photometric="rgb", planarconfig="separate", metadata=None)
    save("colour_stack.tif", (5, 7, 6, 3), "uint8", photometric="rgb")
    save("two_samples.tif", (7, 6, 2), "uint8", photometric="minisblack", planarconfig="contig", metadata=None)
    with tifffile.TiffWriter(FILES / "mixed_pages.tif") as file:
        for shape in ((7, 6), (3, 2), (7, 6)):
            file.write(rng.integers(0, 99, size=shape, dtype=np.uint8), metadata=None)
    with tifffile.TiffWriter(FILES / "two_series.tif") as file:
        for _ in range(2):
            file.write(rng.integers(0, 99, size=(4, 7, 6), dtype=np.uint8), photometric="minisblack")


def png(name, width, bits, colour, rows, extra=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    extra = b"".join(chunk(kind, data) for kind, data in extra) if extra else b""
    put(name, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def picture_files(rng):
    rgb = rng.integers(0, 256, size=(5, 6, 3), dtype=np.uint8)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        for ending in ("png", "bmp"):
            Image.fromarray(rgb).convert(mode).save(FILES / f"mode_{mode}.{ending}")
    Image.fromarray(rgb).convert("LA").save(FILES / "mode_LA.png")
    Image.fromarray(rng.integers(0, 65536, size=(5, 6), dtype=np.uint16)).save(FILES / "grey_16.png")
    Image.fromarray(rgb[..., 0]).convert("P").save(FILES / "grey_palette.png")
    Image.fromarray(rgb[..., 0]).save(FILES / "grey_transparent.png", transparency=3)
    Image.fromarray(rgb).save(FILES / "colour_transparent.png", transparency=tuple(map(int, rgb[0, 0])))
    Image.fromarray(rgb).convert("P").save(FILES / "palette_transparent.png", transparency=3)
    four = Image.fromarray(rgb[..., 0]).convert("RGB").quantize(7)
    four.save(FILES / "palette.bmp")
    wide = rng.integers(0, 256, size=(3, 5, 4), dtype=np.uint8)
    head = struct.pack("<IiiHHIIiiII", 40, 5, -3, 1, 32, 0, 60, 0, 0, 0, 0)
    put("top_down.bmp", b"BM" + struct.pack("<IHHI", 54 + 60, 0, 0, 54) + head + wide.tobytes())
    png("colour_16.png", 2, 16, 2, [bytes(range(12)), bytes(range(100, 112))])
    png("alpha_16.png", 2, 16, 6, [bytes(range(16)), bytes(range(100, 116))])
    png("grey_alpha_16.png", 2, 16, 4, [bytes(range(8)), bytes(range(100, 108))])
    png("grey_4.png", 4, 4, 0, [b"\x01\x23", b"\xab\xef"])
    png("grey_2.png", 4, 2, 0, [b"\x1b", b"\xe4"])
    png("palette_4.png", 4, 4, 3, [b"\x01\x23", b"\x32\x10"], [(b"PLTE", bytes([0, 0, 0, 9, 9, 9, 20, 20, 20, 255, 255, 255]))])


def run(reader, paths):
    """What a reader gives, or nothing if it refuses."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            return reader().read_images([str(path) for path in paths])
        except Exception:
            return None


def row(path, reader, data, properties):
    if "sitk_stuff" in properties or "nibabel_stuff" in properties:
        properties = dict(properties)
        stuff = properties.get("nibabel_stuff", {})
        if "reoriented_affine" in stuff:
            properties["nibabel_stuff"] = {"original_affine": stuff["reoriented_affine"]}
        return make.row(path.name, reader.__name__, data, properties)
    numbers = [*properties["spacing"], 0, 0, 0, *np.eye(3).ravel()]
    return [path.name, reader.__name__, *map(str, data.shape), *(repr(float(v)) for v in numbers)]


def candidates(name):
    if name.endswith((".tif", ".tiff")):
        return [NaturalImage2DIO, Tiff3DIO]
    if name.endswith((".png", ".bmp")):
        return [NaturalImage2DIO]
    if name.endswith((".nii", ".nii.gz")):
        return [*ITK, NibabelIO, NibabelIOWithReorient]
    return ITK


def table():
    rows, values = [], {}
    files = [p for p in sorted(FILES.iterdir()) if p.suffix not in (".json", ".raw", ".zraw") and not p.name.endswith(".raw.gz")]
    for path in [*files, *sorted((HERE / "nifti").iterdir())]:
        for reader in candidates(path.name):
            if path.parent.name == "nifti" and "Reorient" not in reader.__name__:
                continue
            found = run(reader, [path])
            if found is None or found[0].ndim != 4 or len(found[1]["spacing"]) != 3:
                # Colour volumes give arrays that nothing can be done with.
                rows.append([path.name, reader.__name__, "refused"])
                continue
            data, properties = found
            if min(data.shape) > 0:
                rows.append(row(path, reader, data, properties))
                values[f"{reader.__name__}_{path.name}"] = np.ascontiguousarray(data)
    (HERE / "formats.tsv").write_text("\n".join("\t".join(r) for r in rows) + "\n")
    np.savez_compressed(HERE / "formats.npz", **values)


def labels(shape):
    z, y, x = np.indices(shape)
    return (z + 2 * y + 3 * x) % 4


WRITERS = {
    "nrrd": (SimpleITKIO, "itk_int16.nrrd"),
    "mha": (SimpleITKIO, "itk_int16.nrrd"),
    "gipl": (SimpleITKIO, "itk_int16.nrrd"),
    "flat.nrrd": (SimpleITKIO, "itk_flat.mha"),
    "flat.mha": (SimpleITKIO, "itk_flat.mha"),
    "turned.nrrd": (SimpleITKIOWithReorient, "itk_int16.nrrd"),
    "turned.mha": (SimpleITKIOWithReorient, "itk_int16.nrrd"),
    "turned.nii.gz": (NibabelIOWithReorient, "version_2.nii"),
    "tif": (Tiff3DIO, "stack_0000.tif"),
    "png": (NaturalImage2DIO, "mode_L.png"),
    "bmp": (NaturalImage2DIO, "mode_L.png"),
    "flat.tif": (NaturalImage2DIO, "mode_L.png"),
}


def written():
    for name, (writer, source) in WRITERS.items():
        data, properties = run(writer, [FILES / source])
        with contextlib.redirect_stdout(io.StringIO()):
            writer().write_seg(labels(data.shape[1:]), str(WRITTEN / f"labels.{name}"), properties)


def check(folder):
    """The files that the tests wrote, against what the reference's writers made of the same labels."""
    for name, (reader, _) in WRITERS.items():
        ours, theirs = (run(reader, [f / f"labels.{name}"]) for f in (folder, WRITTEN))
        assert ours is not None, name
        np.testing.assert_array_equal(ours[0], theirs[0], err_msg=name)
        np.testing.assert_allclose(ours[1]["spacing"], theirs[1]["spacing"], rtol=2e-7, err_msg=name)
        for stuff in ("sitk_stuff", "nibabel_stuff"):
            for key, value in theirs[1].get(stuff, {}).items():
                if isinstance(value, int | str):
                    assert ours[1][stuff][key] == value, (name, key)
                else:
                    np.testing.assert_allclose(ours[1][stuff][key], value, rtol=1e-6, atol=1e-6, err_msg=f"{name} {key}")
        print(f"labels.{name}: read by {reader.__name__} as its own")
    for path in sorted(folder.glob("image.*")):
        if path.suffix in (".zraw",) or path.name.endswith(".raw.gz"):
            continue
        image = sitk.ReadImage(str(path))
        z, y, x = np.indices((2, 3, 4))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ((z + 2 * y + 3 * x) / 7).astype(np.float32))
        np.testing.assert_allclose(image.GetSpacing(), (0.7, 1.3, 4), rtol=1e-7)
        np.testing.assert_allclose(image.GetOrigin(), (-12.5, 30.25, 7.75), rtol=1e-7)
        if "gipl" not in path.name:
            np.testing.assert_allclose(image.GetDirection(), TURN.ravel(), atol=1e-6)
        print(f"{path.name}: read by SimpleITK")


if __name__ == "__main__":
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if sys.argv[1:2] == ["check"]:
        check(Path(sys.argv[2]))
        sys.exit()
    for folder in (FILES, WRITTEN):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    itk_files(np.random.default_rng(1))
    meta_files()
    nrrd_files()
    nifti_files()
    tiff_files(np.random.default_rng(2))
    picture_files(np.random.default_rng(3))
    table()
    written()
