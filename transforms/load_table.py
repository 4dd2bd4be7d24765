"""Load the rows that an export wrote into its table."""

import dataclasses
from typing import NamedTuple

import apache_beam as beam

from dicomferry.operations.folder import OperationFolder
from dicomferry.places import Access, PlaceRules
from dicomferry.storage.base import Storage
from dicomferry.store.stream_log import StreamLog
from dicomferry.tables.destination import Destination, Load, WriteDisposition
from dicomferry.tables.errors import TableError
from dicomferry.tables.stream import Stream
from dicomferry.transforms.export_table import is_loaded, read_written, record_loaded
from dicomferry.transforms.write_rows import WrittenRows, shards_of


class Covered(NamedTuple):
    """All rows of a store until a version, which an export gives to a table.

    Attributes:
        data: the data folder of the store.
        version: of its index.
    """

    data: Storage
    version: int


@dataclasses.dataclass
class LoadTable(beam.PTransform):
    """Load the shards of `ExportTable`.

    At least once; a load that was recorded is not repeated, and for one that was not, the table
    knows the operation's ID.
    """

    folder: OperationFolder
    table: Destination
    disposition: WriteDisposition
    covered: Covered | None = None
    rules: PlaceRules | None = None

    def expand(self, written: beam.PCollection[WrittenRows]) -> beam.PCollection[str]:
        """Load the shards once their single summary is there.

        Returns:
            One element: '', or the reason why the table refuses the rows.
        """
        return written | "Load" >> beam.Map(_load, self)


def load_table(
    folder: OperationFolder,
    table: Destination,
    disposition: WriteDisposition,
    covered: Covered | None = None,
    rules: PlaceRules | None = None,
) -> None:
    """Load the rows of an operation, and delete their shards.

    If the store streams to the table, and all of its rows replace those of the table, the stream
    goes on after them: what was refused until then would come twice otherwise.

    Args:
        folder: the operation's.
        table: to load into.
        disposition: of the load.
        covered: what the rows are, if they are all rows of the store.
        rules: that the table must follow now.

    Raises:
        TableError: the table, or a rule, refuses the rows; it is as it was.
    """
    if not is_loaded(folder):
        written = read_written(folder)
        # Without a single row to give, the table stays as it is.
        if written.rows or not written.failed:
            if rules:
                rules.check(table.uri, Access.WRITE)
            table.load(Load(shards_of(folder, written), written.schema, disposition, folder.id))
            if covered and disposition == WriteDisposition.WRITE_TRUNCATE:
                log_name = Stream(table.uri, flattened=True, source_store="").log_name
                StreamLog(covered.data, log_name).cover(covered.version)
        record_loaded(written, folder)
    folder.storage.subfolder("rows").remove_all()


def _load(_: WrittenRows, options: LoadTable) -> str:
    try:
        load_table(
            options.folder, options.table, options.disposition, options.covered, options.rules
        )
    except TableError as error:
        return str(error)
    return ""
