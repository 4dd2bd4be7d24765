"""Errors of table destinations; messages name the table, the problem and the remedy.

TableError
├── TableNotEmptyError
├── SchemaConflictError
├── TableBusyError
└── TableOutOfReachError
"""

from google.rpc.code_pb2 import FAILED_PRECONDITION, UNAVAILABLE


class TableError(ValueError):
    """The destination refuses the rows and is unchanged.

    Attributes:
        code: the google.rpc.Code of a job that ends with it.
    """

    code: int = FAILED_PRECONDITION


class TableNotEmptyError(TableError):
    """The table has rows, and the write disposition is WRITE_EMPTY.

    Attributes:
        uri: of the table.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri} has rows already, and the write disposition is WRITE_EMPTY. Choose"
            " WRITE_TRUNCATE to replace them, WRITE_APPEND to add to them, or another table."
        )
        self.uri = uri

    def __reduce__(self) -> tuple[type["TableNotEmptyError"], tuple[str]]:
        return type(self), (self.uri,)


class SchemaConflictError(TableError):
    """A column exists with another type or mode.

    Attributes:
        column: dotted name of the column.
        existing: its type and mode in the table.
        new: its type and mode in the rows to add.
    """

    def __init__(self, column: str, existing: str, new: str) -> None:
        super().__init__(
            f"column {column} is {existing} in the table, but {new} in the rows to add. Choose"
            " WRITE_TRUNCATE to replace the table, or another table."
        )
        self.column, self.existing, self.new = column, existing, new

    def __reduce__(self) -> tuple[type["SchemaConflictError"], tuple[str, str, str]]:
        return type(self), (self.column, self.existing, self.new)


class TableBusyError(TableError):
    """Other loads occupy the table for longer than this one waits."""


class TableOutOfReachError(TableError):
    """The service of the table does not answer, or lets nobody in.

    It is not known whether it has taken the rows: to load again with the same `Load.job` finds out.
    """

    def __init__(self, message: str, code: int = UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type["TableOutOfReachError"], tuple[str, int]]:
        return type(self), (str(self), self.code)
