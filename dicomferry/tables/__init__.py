"""Tables that exports and streams fill: rows of instances, and the destinations that take them.

A kind of destination is one module, which registers itself when it is imported: here, in the
order in which messages name the kinds.
"""

from dicomferry.tables import bigquery_table

# isort: split
from dicomferry.tables import duckdb_table

# isort: split
from dicomferry.tables import delta_table

__all__ = ["bigquery_table", "delta_table", "duckdb_table"]
