"""`dicomferry preview`: one page of thumbnails."""

import os
from typing import Annotated

import typer

from dicomferry.cli.options import DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import errors, find_store, show, write
from dicomferry.storage.registry import open_file


def preview(
    store: StoreArgument,
    output: Annotated[str, typer.Option("--output", "-o", help="Page to write.")] = "preview.html",
    filter_: Annotated[
        str, typer.Option("--filter", metavar="FILE", help="As for `export files`.")
    ] = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write one page of thumbnails, series by series: the contents of a store at a glance.

    Example: [bold]dicomferry preview trial -o preview.html[/bold]
    """
    from dicomferry.console.preview import preview_page
    from dicomferry.store.instance_filter import read_instance_filter

    found = find_store(root, store)
    paths = read_instance_filter(filter_) if filter_ else None
    pieces = preview_page(found.data, f"DICOM store {found.name.id}", paths, os.cpu_count() or 1)
    storage, name = open_file(os.path.abspath(output))
    with errors.status("rendering"):
        storage.write(name, (piece.encode() for piece in pieces))
    show({"page": output}, lambda: write(f"Open {output} in a browser"))
