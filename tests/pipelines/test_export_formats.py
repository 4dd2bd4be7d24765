"""Whole exports to each format: an instance is written or says why not, twice alike."""

from pathlib import Path

import gdcm
import pydicom
import pytest
from PIL import Image

from dicomferry.pixels.formats import DICOM, FORMATS, OCTET_STREAM
from dicomferry.transforms.worker_pool import close_shared_pools
from tests.pipelines.exports import FILES, filled_store
from tests.pipelines.jobs import check_accounts, run_export, tree
from tests.pixels.instances import PREFIX

NAMES = [file.rpartition("/")[2] for file in FILES]
BASELINE = ("SC_rgb_jpeg_dcmtk.dcm", "examples_ybr_color.dcm")
YBR = (*BASELINE, "SC_ybr_full_422_uncompressed.dcm")
NO_PIXELS = "reportsi.dcm"
UNFIT = dict.fromkeys(("liver_1frame.dcm", "rtdose.dcm"), "UNFIT_FOR_COMPRESSION")
SIGNED = ("CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "693_J2KI.dcm")
LOSSY = UNFIT | {"examples_palette.dcm": "PALETTE_NOT_LOSSY"}
# What cannot be had, by the end of the transfer syntax.
FAILURES = {
    ".4.50": LOSSY | dict.fromkeys((*SIGNED, "JPEG-lossy.dcm", "6154"), "TOO_DEEP_FOR_BASELINE"),
    ".4.51": LOSSY | dict.fromkeys(SIGNED, "TOO_DEEP_FOR_EXTENDED"),
    ".4.81": LOSSY,
    ".4.91": LOSSY,
    ".4.203": LOSSY,
    ".4.112": LOSSY | dict.fromkeys(SIGNED, "SIGNED_NOT_LOSSY"),
    ".4.110": UNFIT | dict.fromkeys(YBR, "COLOUR_UNFIT_FOR_JPEG_XL"),
    ".4.111": dict.fromkeys(set(NAMES) - {*BASELINE, NO_PIXELS}, "NOT_JPEG_BASELINE"),
    **dict.fromkeys((".4.57", ".4.70", ".4.80", ".4.90", ".4.201", ".4.202"), UNFIT),
    ".5": {"liver_1frame.dcm": "UNFIT_FOR_RLE"},
}
# What gdcm of this version has no reader for.
UNKNOWN_TO_GDCM = (".4.110", ".4.111", ".4.112", ".4.201", ".4.202", ".4.203", ".8.1")


def expected_failures(form):
    if form.media_type != DICOM:
        return {NO_PIXELS: "NO_PIXEL_DATA"}
    return FAILURES.get(form.transfer_syntax.removeprefix(PREFIX), {})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The packaged files."""
    return filled_store(tmp_path_factory.mktemp("formats"))


@pytest.fixture(scope="module", params=FORMATS, ids=lambda form: form.mime_type)
def export(request, store, tmp_path_factory):
    """The store, exported in one format by two worker processes."""
    form, out = request.param, tmp_path_factory.mktemp("out")
    job = run_export(store.root, out, f"--mime-type={form.mime_type}", workers=2)
    yield form, out, job
    close_shared_pools()


def files_of(store, out, name, form):
    """The paths that an instance was written as."""
    stem = out / store.path(name).replace("/studies/", "").replace("/series/", "/").replace(
        "/instances/", "/"
    )
    if stem.is_dir():
        return sorted(stem.iterdir(), key=lambda path: int(path.stem))
    return [Path(f"{stem}{form.extension}")]


def test_every_instance_is_written_or_says_why_not(store, export):
    form, out, job = export
    assert store.failures(job) == expected_failures(form)
    check_accounts(job, [store.path(name) for name in NAMES])
    assert job.code == (1 if expected_failures(form) else 0)
    written = {name for name in NAMES if name not in expected_failures(form)}
    expected = {str(path) for name in written for path in files_of(store, out, name, form)}
    assert {str(out / path) for path in tree(out)} == expected
    if form.per_frame:
        assert len(files_of(store, out, "examples_ybr_color.dcm", form)) == 30
        assert len(files_of(store, out, "rtdose.dcm", form)) == 15
        assert len(files_of(store, out, "CT_small.dcm", form)) == 1


def test_the_files_open(store, export):
    form, out, _ = export
    for name in NAMES:
        if name in expected_failures(form):
            continue
        row = store.rows[store.path(name).rpartition("/")[2]]
        paths = files_of(store, out, name, form)
        source = pydicom.dcmread(row["SourceUri"], stop_before_pixels=True)
        if form.media_type == DICOM:
            check_dicom(paths[0], source, form, name)
        elif form.media_type == OCTET_STREAM:
            check_raw(paths, source, form)
        else:
            for path in paths:
                with Image.open(path) as picture:
                    picture.load()
                    assert picture.format == form.extension[1:].upper().replace("JPG", "JPEG")
                    assert picture.size == (source.Columns, source.Rows)


def check_dicom(path, source, form, name):
    found = pydicom.dcmread(path)
    assert found.SOPInstanceUID == source.SOPInstanceUID
    asked = form.transfer_syntax
    if asked == "*":
        asked = source.file_meta.TransferSyntaxUID
        assert path.read_bytes() == Path(source.filename).read_bytes()
    elif name == NO_PIXELS and asked[len(PREFIX) :] not in ("", ".1", ".1.99"):
        asked = f"{PREFIX}.1"  # nothing in it is compressed
    assert found.file_meta.TransferSyntaxUID == asked
    # No element is lost, but the extremes that loss makes invalid, and a length of group 7FE0.
    lost = {element.keyword for element in source if element.tag not in found}
    assert lost <= {"", "SmallestImagePixelValue", "LargestImagePixelValue"}
    assert 0x7FE00000 not in found or asked == source.file_meta.TransferSyntaxUID


def check_raw(paths, source, form):
    frame = source.Rows * source.Columns * source.SamplesPerPixel * source.BitsAllocated // 8
    if form.transfer_syntax == "*" and source.file_meta.TransferSyntaxUID.is_encapsulated:
        assert all(0 < path.stat().st_size < frame for path in paths)
    elif form.transfer_syntax == "*" and source.PhotometricInterpretation == "YBR_FULL_422":
        assert [path.stat().st_size for path in paths] == [frame * 2 // 3]
    else:
        assert {path.stat().st_size for path in paths} <= {frame, frame * 2 // 3}


def test_gdcm_opens_what_it_knows(store, export):
    form, out, _ = export
    if form.media_type != DICOM or form.transfer_syntax.removeprefix(PREFIX) in UNKNOWN_TO_GDCM:
        return  # the pictures and syntaxes are opened by others, above
    opened = 0
    for name in NAMES:
        if name in expected_failures(form) or name == NO_PIXELS:
            continue
        readers = [gdcm.ImageReader(), gdcm.ImageReader()]
        row = store.rows[store.path(name).rpartition("/")[2]]
        paths = row["SourceUri"], str(files_of(store, out, name, form)[0])
        for reader, path in zip(readers, paths, strict=True):
            reader.SetFileName(path)
        if not readers[0].Read():
            continue  # it does not open the source either
        assert readers[1].Read(), name
        assert readers[1].GetImage().GetDimensions() == readers[0].GetImage().GetDimensions()
        opened += 1
    assert opened > 5


def test_the_same_export_gives_the_same_bytes(store, export, tmp_path):
    """In other processes, in other chunks, whoever helps with the frames."""
    form, out, first = export
    again = run_export(store.root, tmp_path, f"--mime-type={form.mime_type}", workers=0)
    assert again.outcomes == first.outcomes
    assert tree(tmp_path) == tree(out)


def test_jpeg_needs_no_parameter(store, tmp_path):
    for name, mime_type in (
        ("a", "image/jpeg"),
        ("b", f"image/jpeg; transferSyntax={PREFIX}.4.50"),
    ):
        run_export(store.root, tmp_path / name, f"--mime-type={mime_type}")
    assert tree(tmp_path / "a") == tree(tmp_path / "b") != {}


def test_files_have_uids_of_their_own_where_they_lost_and_it_is_asked_for(store, tmp_path):
    form = f"--mime-type={DICOM}; transfer-syntax={PREFIX}.4.81"
    job = run_export(store.root, tmp_path, form, "--derive-uids")
    derived = {
        line["derivedSopInstanceUid"]: line["sopInstanceUid"]
        for line in job.outcomes.values()
        if "derivedSopInstanceUid" in line
    }
    files = {path.rpartition("/")[2].removesuffix(".dcm") for path in tree(tmp_path)}
    [report] = [uid for uid, name in store.names.items() if name == NO_PIXELS]
    assert files == {*derived, report}
    assert len(derived) == len(NAMES) - len(LOSSY) - 1
    for path in tmp_path.rglob("*.dcm"):
        assert pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID == path.stem
