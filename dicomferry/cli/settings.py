"""The options that every command has: the form of its results, and how much it says.

They are process-wide, as standard output and standard error are.
"""

import dataclasses
import logging
from enum import StrEnum
from typing import Annotated, Any

import typer

from dicomferry.pipelines import log_format
from dicomferry.pipelines.log_format import LogFormat

_PANEL = "Output"


class OutputFormat(StrEnum):
    """Form of the results on standard output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


@dataclasses.dataclass
class Settings:
    """How this process talks.

    Attributes:
        format: of results. With json and jsonl, nothing else is on standard output.
        quiet: results and errors only: no progress, no advice.
        log_format: of what is on standard error.
    """

    format: OutputFormat = OutputFormat.TABLE
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT

    @property
    def is_table(self) -> bool:
        """Whether results are for people."""
        return self.format is OutputFormat.TABLE

    @property
    def logs_json(self) -> bool:
        """Whether standard error is lines of JSON."""
        return self.log_format is LogFormat.JSON


settings = Settings()


def common_options() -> list[Any]:
    """Return the options, as parameters of a command."""
    app = typer.Typer(add_completion=False)
    app.command()(_options)
    return list(typer.main.get_command(app).params)


def _set_format(value: OutputFormat) -> None:
    settings.format = value


def _set_quiet(value: bool) -> None:
    settings.quiet = value


def _set_verbose(value: bool) -> None:
    logging.getLogger("dicomferry").setLevel(logging.INFO if value else logging.NOTSET)


def _set_log_format(value: LogFormat) -> None:
    settings.log_format = value
    if value is LogFormat.JSON:
        log_format.set_up(value, level=logging.WARNING)


def _options(
    _format: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            callback=_set_format,
            expose_value=False,
            rich_help_panel=_PANEL,
            help="Format of results; with json or jsonl, standard output has nothing else.",
        ),
    ] = OutputFormat.TABLE,
    _quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=_set_quiet,
            expose_value=False,
            rich_help_panel=_PANEL,
            help="Results and errors only: no progress, no advice.",
        ),
    ] = False,
    _verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=_set_verbose,
            expose_value=False,
            rich_help_panel=_PANEL,
            help="Show the log as well.",
        ),
    ] = False,
    _log_format: Annotated[
        LogFormat,
        typer.Option(
            "--log-format",
            callback=_set_log_format,
            expose_value=False,
            rich_help_panel=_PANEL,
            help="Format of the log on standard error; json is for Cloud Logging.",
        ),
    ] = LogFormat.TEXT,
) -> None:
    """Declare the options."""
