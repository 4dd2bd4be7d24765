"""Load the rows that an export wrote into its table."""

import dataclasses

import apache_beam as beam

from dicomferry.operations.folder import OperationFolder
from dicomferry.tables.destination import Destination, Load, WriteDisposition
from dicomferry.tables.errors import TableError
from dicomferry.transforms.export_table import is_loaded, read_written, record_loaded
from dicomferry.transforms.write_rows import WrittenRows, shards_of


@dataclasses.dataclass
class LoadTable(beam.PTransform):
    """Load the shards of `ExportTable`.

    At least once; a load that was recorded is not repeated, and for one that was not, the table
    knows the operation's ID.
    """

    folder: OperationFolder
    table: Destination
    disposition: WriteDisposition

    def expand(self, written: beam.PCollection[WrittenRows]) -> beam.PCollection[str]:
        """Load the shards once their single summary is there.

        Returns:
            One element: '', or the reason why the table refuses the rows.
        """
        return written | "Load" >> beam.Map(_load, self.folder, self.table, self.disposition)


def load_table(folder: OperationFolder, table: Destination, disposition: WriteDisposition) -> None:
    """Load the rows of an operation, and delete their shards.

    Raises:
        TableError: the table refuses the rows; it is as it was.
    """
    if not is_loaded(folder):
        written = read_written(folder)
        # Without a single row to give, the table stays as it is.
        if written.rows or not written.failed:
            table.load(Load(shards_of(folder, written), written.schema, disposition, folder.id))
        record_loaded(written, folder)
    folder.storage.subfolder("rows").remove_all()


def _load(
    _: WrittenRows, folder: OperationFolder, table: Destination, disposition: WriteDisposition
) -> str:
    try:
        load_table(folder, table, disposition)
    except TableError as error:
        return str(error)
    return ""
