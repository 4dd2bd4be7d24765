"""A lookup holds the footers of few files at once: those of a large index would fill the memory."""

import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from dicomferry.store.index_files import IndexFile
from dicomferry.store.index_lookup import find_rows
from dicomferry.store.index_schema import SCHEMA


def test_a_lookup_opens_all_files_that_can_have_a_uid_and_few_at_once():
    files = [IndexFile(f"{number}.parquet", 1, "1.1", "1.9", 7) for number in range(1000)]
    files.append(IndexFile("elsewhere.parquet", 1, "2.1", "2.9", 7))
    opened = []

    def open_files(sizes):
        opened.append(dict(sizes))
        return ds.FileSystemDataset([], SCHEMA, ds.ParquetFileFormat(), LocalFileSystem())

    assert len(find_rows(files, open_files, ["1.5", "3.1"])) == 0
    assert max(map(len, opened)) <= 128
    assert [path for some in opened for path in some] == [file.path for file in files[:-1]]
