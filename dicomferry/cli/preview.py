"""`dicomferry preview`: one page of thumbnails."""

import os
from typing import Annotated

import typer

from dicomferry.cli.options import DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import errors, find_store, show, write_each
from dicomferry.storage.registry import open_file


def preview(
    store: StoreArgument,
    output: Annotated[str, typer.Option("--output", "-o", help="Page to write.")] = "preview.html",
    limit: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Largest number of series, taken from all modalities."
        ),
    ] = 500,
    filter_: Annotated[
        str, typer.Option("--filter", metavar="FILE", help="Filter file, as for `export files`.")
    ] = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write an HTML page with a thumbnail of each series of a store.

    Example: [bold]dicomferry preview trial -o preview.html[/bold]
    """
    from dicomferry.console.preview import preview_page, totals
    from dicomferry.console.queries.contents import contents_of
    from dicomferry.store.instance_filter import read_instance_filter

    found = find_store(root, store)
    paths = read_instance_filter(filter_) if filter_ else None
    storage, name = open_file(os.path.abspath(output))
    with errors.status("rendering"):
        contents = contents_of(found.data, paths, limit)
        title = f"DICOM store {found.name.id}"
        pieces = preview_page(found.data, title, contents, os.cpu_count() or 1)
        storage.write(name, (piece.encode() for piece in pieces))
    lines = [*totals(contents), f"Open {output} in a browser"]
    counts = {"series": contents.series, "shown": len(contents.shown)}
    show({"page": output, **counts}, lambda: write_each(lines))
