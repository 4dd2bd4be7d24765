"""A store of pydicom's packaged files, one of each kind of pixels, and exports of it."""

import shutil
from typing import NamedTuple

from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from tests.pipelines.jobs import PACKAGED, new_store, rows, run_import

FILES = (
    "CT_small.dcm",  # signed, 16 bits
    "MR_small_bigendian.dcm",
    "ExplVR_BigEnd.dcm",  # RGB, big endian
    "693_J2KI.dcm",
    "JPEG-lossy.dcm",  # 12 bits, Process 4
    "JPEG2000.dcm",
    "SC_rgb_jpeg_gdcm.dcm",  # RGB, lossless JPEG
    "SC_rgb_jpeg_dcmtk.dcm",  # YBR_FULL, JPEG Baseline
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_ybr_color.dcm",  # 30 frames of JPEG Baseline
    "examples_jpeg2k.dcm",  # YBR_RCT
    "examples_palette.dcm",
    "image_dfl.dcm",  # deflated
    "liver_1frame.dcm",  # single bits
    "rtdose.dcm",  # 15 frames of 32 bits
    "reportsi.dcm",  # no pixels
    "dicomdirtests/77654033/CR1/6154",  # MONOCHROME1, 12 bits
)


class FilledStore(NamedTuple):
    """A store, and what is in it.

    Attributes:
        root: where it is.
        names: of the files, by SOP Instance UID.
        rows: of the index, by SOP Instance UID.
    """

    root: Storage
    names: dict
    rows: dict

    def path(self, name):
        """The resource path of a file's instance."""
        [row] = [row for uid, row in self.rows.items() if self.names[uid] == name]
        study, series, uid = (row[f"{level}InstanceUID"] for level in ("Study", "Series", "SOP"))
        return f"/studies/{study}/series/{series}/instances/{uid}"

    def failures(self, job):
        """The codes of what failed, by the names of the files."""
        return {
            self.names[source.rpartition("/")[2]]: line["code"]
            for source, line in job.outcomes.items()
            if line["outcome"] == "failed"
        }


def filled_store(folder, files=FILES):
    """Import packaged files into a new store."""
    source = folder / "in"
    source.mkdir(parents=True)
    for file in files:
        shutil.copy(PACKAGED / "test_files" / file, source / file.rpartition("/")[2])
    return store_of(folder, source)


def store_of(folder, source):
    """Import all files of a folder into a new store; every one has to get there."""
    root = open_storage(str(folder / "root"))
    new_store(root)
    job = run_import(root, f"{source}/**")
    assert job.kinds == {"imported": len(list(source.iterdir()))}
    found = rows(root)
    names = {uid: row["SourceUri"].rpartition("/")[2] for uid, row in found.items()}
    return FilledStore(root, names, found)
