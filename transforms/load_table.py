"""Put the rows that an export wrote into its table, by one load."""

import dataclasses

import apache_beam as beam

from dicomferry.operations.folder import OperationFolder
from dicomferry.tables.destination import Destination, Load, WriteDisposition
from dicomferry.tables.errors import TableError
from dicomferry.transforms.export_table import is_loaded, read_written, record_loaded
from dicomferry.transforms.write_rows import WrittenRows, shards_of


@dataclasses.dataclass
class LoadTable(beam.PTransform):
    """Load what `ExportTable` wrote; outputs '', or why the table refused.

    At least once; a load that was recorded is not made again, and one that was not is known to
    the table by the operation's id.
    """

    folder: OperationFolder
    table: Destination
    disposition: WriteDisposition

    def expand(self, written: beam.PCollection[WrittenRows]) -> beam.PCollection[str]:
        """Wire it."""
        return written | "Load" >> beam.Map(_load, self.folder, self.table, self.disposition)


def load_table(folder: OperationFolder, table: Destination, disposition: WriteDisposition) -> None:
    """Load, and delete the rows that were written for that.

    Raises:
        TableError: the table refuses them; it is as it was.
    """
    if not is_loaded(folder):
        written = read_written(folder)
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
