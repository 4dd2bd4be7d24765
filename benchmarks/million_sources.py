"""An import of files that do not exist, to measure listing and committing a million of them.

python -m benchmarks.million_sources STORE ROOT HEADER_FILE COUNT

The whole job runs except for the reading: listing entries are synthetic, and workers answer each
with the header of HEADER_FILE under a SOP Instance UID of its own.
"""

import functools
import sys
from pathlib import Path
from unittest import mock

from benchmarks.synthetic_instances import ingest_synthetic, list_synthetic
from dicomferry.dicom.header import read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.pipelines import import_dicom
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.options import beam_options
from dicomferry.resource_names import parse_store
from dicomferry.sources.pattern import SourcePattern
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import open_storage


def main(store: str, root: str, header_file: str, count: str) -> None:
    header = read_header(BytesReader(Path(header_file).read_bytes()))
    config = ImportRequest(
        root=open_storage(root), store=parse_store(store), source=parse_source("/archive/**")
    )
    ingest = functools.partial(ingest_synthetic, header=header)

    def listing(_: SourcePattern, *_links: object, **_flags: object) -> object:
        return list_synthetic(int(count))

    with (
        mock.patch("dicomferry.pipelines.import_dicom.list_sources", listing),
        mock.patch("dicomferry.transforms.read_and_store.ingest_all", ingest),
    ):
        import_dicom.run(config, beam_options([]))


if __name__ == "__main__":
    main(*sys.argv[1:])
