"""`dicomferry stores`: create, show and maintain DICOM stores."""

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from dicomferry.cli import store_maintenance
from dicomferry.cli.columns import Layout
from dicomferry.cli.job_report import exit_with, report
from dicomferry.cli.options import DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import (
    confirm,
    find_store,
    say,
    show,
    show_rows,
    suggest,
    with_root,
    write,
    write_columns,
    write_fields,
)
from dicomferry.cli.progress import progress
from dicomferry.cli.standard_output import name_job
from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store import deletion, dicom_store
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import read_instance_filter
from dicomferry.store.notifications import import_topics
from dicomferry.tables.destination import parse_destination, uri_forms
from dicomferry.tables.stream import streams_of

stores_app = typer.Typer(help="Create, show and maintain DICOM stores.", no_args_is_help=True)
Labels = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Label of the store, for filters; up to 64."),
]


@stores_app.command("create")
def create(
    store: StoreArgument,
    stream_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE",
            help=f"Append a row of every new instance to this table: {uri_forms()}; up to five.",
        ),
    ] = None,
    label: Labels = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Create a store.

    Examples:
    [bold]dicomferry stores create trial[/bold]
    [bold]dicomferry stores create trial --stream-to duckdb:trial.duckdb#dicom.instances[/bold]
    """
    resource = {"labels": _labels(label), "streamConfigs": _streams(stream_to)}
    resource = {field: value for field, value in resource.items() if value}
    made = dicom_store.create_store(open_storage(root), parse_store(store), resource)
    show(_fields(made), lambda: write(f"Created {made.name} in {made.data.root}"))
    suggest(f"dicomferry import {shlex.quote(store)} '/data/**'", root)


@stores_app.command("update")
def update(
    store: StoreArgument,
    label: Labels = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Remove a label.")
    ] = None,
    stream_to: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE", help="Stream to these tables from now on, and no others."),
    ] = None,
    no_streams: Annotated[bool, typer.Option("--no-streams", help="Stop all streams.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Change labels and streams of a store; everything else stays the same.

    Example: [bold]dicomferry stores update trial --label site=north --remove-label draft[/bold]
    """
    given, streams = _labels(label), _streams(stream_to)
    if streams and no_streams:
        raise ValueError("give either --stream-to or --no-streams")
    if not (given or remove_label or streams or no_streams):
        raise ValueError("name what to change: --label, --remove-label, --stream-to, --no-streams")

    def change(resource: dicom_store.Resource) -> dicom_store.Resource:
        labels = {**resource.get("labels", {}), **given}
        kept = {key: value for key, value in labels.items() if key not in (remove_label or [])}
        changed = {**resource, "labels": kept}
        if streams or no_streams:
            changed["streamConfigs"] = streams
        return {field: value for field, value in changed.items() if value}

    updated = dicom_store.update_store(open_storage(root), parse_store(store), change)
    show(_fields(updated), lambda: _write(updated))


@stores_app.command("list")
def list_(
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            help="Only stores whose labels match, such as 'labels.site=north AND NOT labels.draft='"
            "; = searches the text within the value.",
        ),
    ] = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """List the stores of the local dataset.

    Example: [bold]dicomferry stores list --filter 'labels.site=north' --format json[/bold]
    """
    from dicomferry.api.label_filter import parse_filter

    wanted = parse_filter(filter_)
    found = [
        store
        for store in dicom_store.list_stores(open_storage(root), DatasetName())
        if wanted.matches(store.resource.get("labels", {}))
    ]
    show_rows(map(_fields, found), lambda _: _write_list(found))
    if not found and filter_:
        say("No store matches")
    elif not found:
        say(f"No stores under {open_storage(root).root}")
        suggest("dicomferry stores create STORE", root)


@stores_app.command()
def describe(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Show a store: its labels, its streams, and the location of its data.

    Example: [bold]dicomferry stores describe trial --format json[/bold]
    """
    found = dicom_store.get_store(open_storage(root), parse_store(store))
    show(_fields(found), lambda: _write(found))


@stores_app.command()
def delete(
    store: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete a store and every instance in it.

    Run an interrupted deletion again to continue it.

    Example: [bold]dicomferry stores delete trial --yes[/bold]
    """
    name, storage = parse_store(store), open_storage(root)
    if not deletion.has_anything(storage, name):
        dicom_store.get_store(storage, name)  # says that there is none
    count = deletion.count_instances(storage, name)
    question = f"Delete {name} with its {count} instances for good?"
    if not dicom_store.find_store(storage, name):
        question = f"Delete what is left of {name}, which was deleted before?"
    if not yes:
        confirm(question)
    with progress("delete", "blob") as on_progress:
        operation = deletion.delete_store(storage, name, on_progress)
    name_job(with_root(f"dicomferry operations describe {operation.id}", root))
    blobs = operation.outcome_counts.deleted
    value = {"name": str(name), "blobs": blobs, "operation": operation.id}
    show(value, lambda: write(f"Deleted {name}"))
    say(f"{blobs:,} blobs; operation: {operation.id}")


@stores_app.command("delete-instances")
def delete_instances(
    store: StoreArgument,
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="FILE",
            help="File, local or gs://, with one path per line: /studies/UID, "
            "/studies/UID/series/UID or /studies/UID/series/UID/instances/UID.",
        ),
    ],
    purge_history: Annotated[
        bool,
        typer.Option(
            "--purge-history",
            help="Also delete earlier versions of the index, which have the attributes; otherwise "
            "they stay for 7 days, and until `stores optimize` runs.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete the studies, series and instances that a file lists.

    Run an interrupted deletion again to continue it. Exits with 1 if a path has no instances.

    Example: [bold]dicomferry stores delete-instances trial --filter patient.txt[/bold]
    """
    from dicomferry.pipelines import delete_instances as program

    found, instances = find_store(root, store), read_instance_filter(filter_)
    count, unmatched = instances.find(Index(found.data).uids())
    question = f"Delete {count:,} instances of {found.name} for good?"
    if unmatched:
        question = f"{len(unmatched):,} paths match no instance. {question}"
    if not yes:
        confirm(question)
    storage = open_storage(root)
    with progress("delete", "instance") as on_progress:
        deletion = program.Deletion(storage, found.name, instances, filter_, purge_history)
        operation = program.run(deletion, on_progress)
    report(operation, storage, 0)
    if not purge_history:
        say("earlier versions of the index keep their attributes for 7 days; see --purge-history")
    exit_with(operation, 0)


for _command in (
    store_maintenance.metrics,
    store_maintenance.verify,
    store_maintenance.vacuum,
    store_maintenance.upgrade,
    store_maintenance.optimize,
):
    stores_app.command()(_command)


def _fields(store: dicom_store.DicomStore) -> dict[str, Any]:
    """Return a store for programs: its resource, and where its data is."""
    return {**store.resource, "data": store.data.root, "format": store.format}


def _write(store: dicom_store.DicomStore) -> None:
    streams = streams_of(store.resource, str(store.name))
    write_fields(
        (
            ("name", str(store.name)),
            ("labels", _label_text(store)),
            *(("stream to", stream.table_uri) for stream in streams),
            *(("topic", topic.name) for topic in import_topics(store.resource)),
            ("data", store.data.root),
            ("format", str(store.format)),
        )
    )


def _write_list(stores: Sequence[dicom_store.DicomStore]) -> None:
    rows = [(each.name.id, _label_text(each), each.data.root) for each in stores]
    if rows:
        write_columns([("store", "labels", "data"), *rows], Layout("data", ("labels",)))


def _label_text(store: dicom_store.DicomStore) -> str:
    return ", ".join(f"{key}={value}" for key, value in store.resource.get("labels", {}).items())


def _labels(texts: Sequence[str] | None) -> dict[str, str]:
    labels = {}
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--label {text} must be KEY=VALUE; VALUE may be empty")
        labels[key] = value
    return labels


def _streams(tables: Sequence[str] | None) -> list[dict[str, dict[str, str]]]:
    for table in tables or []:
        parse_destination(table)
    return [{"bigqueryDestination": {"tableUri": table}} for table in tables or []]
