"""Arguments and flags that commands share."""

from typing import Annotated

import typer

DEFAULT_ROOT = "./dicomferry-data"
# Flags that we do not know are Beam's.
BEAM_FLAGS = {"allow_extra_args": True, "ignore_unknown_options": True}

Root = Annotated[
    str,
    typer.Option(
        "--root",
        envvar="DICOMFERRY_ROOT",
        help="Where stores live: a folder or gs://bucket/prefix.",
    ),
]
StoreArgument = Annotated[str, typer.Argument(help="Id or full resource name of the store.")]
