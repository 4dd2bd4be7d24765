"""`dicomferry stores`: create, show and maintain DICOM stores."""

import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from dicomferry.cli.options import DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import (
    console,
    errors,
    exit_with,
    find_store,
    report,
    say,
    suggest,
)
from dicomferry.jobs import elsewhere
from dicomferry.operations.listing import list_operations
from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.public.progress import progress_bar_or_lines
from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store import deletion, dicom_store, maintenance, verification
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import read_instance_filter
from dicomferry.store.notifications import import_topics
from dicomferry.store.vacuum import vacuum as delete_unused
from dicomferry.tables.destination import parse_destination, uri_forms
from dicomferry.tables.stream import streams_of

stores_app = typer.Typer(help="Create, show and maintain DICOM stores.", no_args_is_help=True)
Labels = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A label of the store, to find it by; up to 64."),
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
    say(f"Created {made.name} in {made.data.root}")
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
    """Change a store's labels and streams; what is not named stays the same.

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
    console.print_json(data=updated.resource)


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
    """List the stores of the local dataset."""
    from dicomferry.api.label_filter import parse_filter

    wanted = parse_filter(filter_)
    found = [
        store
        for store in dicom_store.list_stores(open_storage(root), DatasetName())
        if wanted.matches(store.resource.get("labels", {}))
    ]
    if not found and filter_:
        console.print("No store matches", highlight=False)
    elif not found:
        say(f"No stores under {open_storage(root).root}")
        suggest("dicomferry stores create STORE", root)
    for store in found:
        say(store.name.id)


@stores_app.command()
def describe(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Show a store's resource as JSON, and the location of its data."""
    found = dicom_store.get_store(open_storage(root), parse_store(store))
    console.print_json(data=found.resource)
    say(f"data: {found.data.root}")


@stores_app.command()
def delete(
    store: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete a store and every instance in it.

    A deletion that broke off goes on when it is run again.
    """
    name, storage = parse_store(store), open_storage(root)
    if not deletion.has_anything(storage, name):
        dicom_store.get_store(storage, name)  # says that there is none
    count = deletion.count_instances(storage, name)
    question = f"Delete {name} with its {count} instances for good?"
    if not dicom_store.find_store(storage, name):
        question = f"Delete what is left of {name}, which was deleted before?"
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)
    with progress_bar_or_lines("delete") as show:
        operation = deletion.delete_store(storage, name, show)
    say(f"Deleted {name}")
    deleted = f"{operation.outcome_counts.deleted:,} blobs; operation: {operation.id}"
    console.print(deleted, highlight=False)


@stores_app.command("delete-instances")
def delete_instances(
    store: StoreArgument,
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="FILE",
            help="File, local or gs://, with one path per line; the instances below these are "
            "deleted: /studies/UID[/series/UID[/instances/UID]]",
        ),
    ],
    purge_history: Annotated[
        bool,
        typer.Option(
            "--purge-history",
            help="Delete earlier versions of the index, too, which still have the attributes; "
            "without it they stay for 7 days, and until `optimize`.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete the instances below some paths: rows and files, at once.

    A deletion that broke off goes on when it is run again. Exits with 1 if nothing is below a path.

    Example: [bold]dicomferry stores delete-instances trial --filter patient.txt[/bold]
    """
    from dicomferry.pipelines import delete_instances as program

    found, instances = find_store(root, store), read_instance_filter(filter_)
    count, unmatched = instances.find(Index(found.data).uids())
    question = f"Delete {count:,} instances of {found.name} for good?"
    if unmatched:
        question = f"{len(unmatched):,} paths match no instance. {question}"
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)
    storage = open_storage(root)
    with progress_bar_or_lines("delete") as show:
        deletion = program.Deletion(storage, found.name, instances, filter_, purge_history)
        operation = program.run(deletion, show)
    report(operation, storage)
    if not purge_history:
        say("earlier versions of the index have their attributes for 7 days: --purge-history")
    exit_with(operation, 0)


@stores_app.command()
def metrics(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Show the number of studies, series, instances and bytes as JSON."""
    console.print_json(data=maintenance.metrics(find_store(root, store)))


@stores_app.command()
def verify(
    store: StoreArgument,
    sample: Annotated[
        str,
        typer.Option(metavar="SHARE", help="Only a random share of the instances, such as 1%."),
    ] = "100%",
    log: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Keep what is verified in this local file; with the same file, a later run goes "
            "on from there.",
        ),
    ] = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Check that every row's blob exists and has the right checksum.

    Exits with 1 and lists the instances whose blob is missing or damaged.

    Examples:
    [bold]dicomferry stores verify trial --sample 1%[/bold]
    [bold]dicomferry stores verify trial --log verified.jsonl[/bold]
    """
    found = find_store(root, store)
    share = _share(sample)
    if log and share < 1:
        raise ValueError("give either --sample or --log: a log is of all instances, in order")
    kept = verification.VerifyLog(log, str(found.name)) if log else None
    for finding in kept.problems if kept else ():
        _show_problem(finding)
    damaged = len(kept.problems) if kept else 0
    checked = size = 0
    total = round(verification.count_rows(found, kept) * share)
    with progress_bar_or_lines("verify") as show:
        for finding in verification.verify(found, sample=share, log=kept):
            checked += 1
            size += finding.size
            if finding.problem:
                damaged += 1
                _show_problem(finding)
            if checked % 100 == 0:
                show(ProgressCounts(checked, damaged, size), total)
    console.print(f"{checked} instances, {damaged} damaged")
    raise typer.Exit(1 if damaged else 0)


@stores_app.command()
def vacuum(
    store: StoreArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete blobs that no row points at and that are older than 7 days; jobs may run meanwhile."""
    removed = 0
    for path in delete_unused(find_store(root, store), dry_run=dry_run):
        say(path)
        removed += 1
    console.print(f"{removed} blobs {'would be' if dry_run else 'were'} deleted")


@stores_app.command()
def upgrade(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Bring a store to the format of this version, once no job of an earlier version runs on it.

    Earlier versions may refuse the store afterward.
    """
    before = find_store(root, store)
    reader = elsewhere.OperationReader()
    for folder, read in list_operations(open_storage(root), before.name.parent):
        record = reader.reconcile(folder, read)
        if record.store == before.name and folder.is_running(record):
            raise ValueError(f"{folder.name} is running: upgrade when it has ended")
    after = dicom_store.upgrade_store(open_storage(root), before.name)
    say(f"{after.name}: format {before.format} before, {after.format} now")


@stores_app.command()
def optimize(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Sort the index into few files, so that imports and exports read less of it."""
    found = find_store(root, store)
    streams = streams_of(found.resource, str(found.name))
    followers = [stream.log_name for stream in streams]
    followers += [topic.log_name for topic in import_topics(found.resource)]
    before, after = maintenance.optimize(found, followers)
    console.print(f"index files: {before} before, {after} now")


def _share(text: str) -> float:
    """Return a share from a percentage."""
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0
    if not (text.endswith("%") and 0 < share <= 1):
        raise ValueError(f"--sample {text} must be a percentage above 0% and up to 100%")
    return share


def _show_problem(finding: verification.Finding) -> None:
    found = f"{finding.sop_instance_uid}: {finding.problem}: {finding.blob}"
    errors.print(found, soft_wrap=True)


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
