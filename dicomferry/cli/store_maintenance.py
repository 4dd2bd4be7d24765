"""`dicomferry stores`: count, verify and maintain what is in a store."""

from collections.abc import Iterator
from typing import Annotated

import typer

from dicomferry.cli.options import DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import (
    find_store,
    say,
    show,
    show_rows,
    warn,
    write,
    write_each,
    write_fields,
)
from dicomferry.cli.progress import progress
from dicomferry.jobs import elsewhere
from dicomferry.operations.listing import list_operations
from dicomferry.operations.outcomes import ProgressCounts, Total
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store, maintenance, verification
from dicomferry.store.notifications import import_topics
from dicomferry.store.vacuum import vacuum as delete_unused
from dicomferry.tables.stream import streams_of

# Fields of DicomStoreMetrics in words.
_METRICS = {
    "studyCount": "studies",
    "seriesCount": "series",
    "instanceCount": "instances",
    "blobStorageSizeBytes": "bytes of files",
    "structuredStorageSizeBytes": "bytes of metadata",
}


def metrics(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Show the number of studies, series, instances and bytes.

    Example: [bold]dicomferry stores metrics trial --format json[/bold]
    """
    found = maintenance.metrics(find_store(root, store))
    show(
        found,
        lambda: write_fields((words, f"{int(found[name]):,}") for name, words in _METRICS.items()),
    )


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
            help="Record progress in this local file; a later run with the same file continues "
            "from there.",
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
        raise ValueError("give either --sample or --log: a log covers all instances, in order")
    kept = verification.VerifyLog(log, str(found.name)) if log else None
    damaged = list(kept.problems) if kept else []
    for finding in damaged:
        _warn_of(finding)
    checked = size = 0
    total = Total(round(verification.count_rows(found, kept) * share))
    with progress("verify", "instance") as on_progress:
        for finding in verification.verify(found, sample=share, log=kept):
            checked += 1
            size += finding.size
            if finding.problem:
                damaged.append(finding)
                _warn_of(finding)
            if checked % 100 == 0:
                on_progress(ProgressCounts(checked, len(damaged), size), total)
        on_progress(ProgressCounts(checked, len(damaged), size), Total(checked))
    problems = [
        {"sopInstanceUid": each.sop_instance_uid, "blob": each.blob, "problem": each.problem}
        for each in damaged
    ]
    value = {"name": str(found.name), "instances": checked, "damaged": len(damaged)}
    show(
        value | {"problems": problems},
        lambda: write(f"{checked} instances, {len(damaged)} damaged"),
    )
    raise typer.Exit(1 if damaged else 0)


def vacuum(
    store: StoreArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List them, but delete nothing.")
    ] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete blobs older than 7 days that no row points at; safe while jobs run.

    Example: [bold]dicomferry stores vacuum trial --dry-run[/bold]
    """
    removed = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal removed
        for path in delete_unused(find_store(root, store), dry_run=dry_run):
            removed += 1
            yield {"blob": path}

    show_rows(rows(), lambda found: write_each(row["blob"] for row in found))
    say(f"{removed} files {'would be' if dry_run else 'were'} deleted")


def upgrade(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Upgrade a store to this version's format; no job may be running on it.

    Earlier versions may refuse the store afterward.

    Example: [bold]dicomferry stores upgrade trial[/bold]
    """
    before = find_store(root, store)
    reader = elsewhere.OperationReader()
    for folder, read in list_operations(open_storage(root), before.name.parent):
        record = reader.reconcile(folder, read)
        if record.store == before.name and folder.is_running(record):
            raise ValueError(f"{folder.name} is running: upgrade when it has ended")
    after = dicom_store.upgrade_store(open_storage(root), before.name)
    value = {"name": str(after.name), "formatBefore": before.format, "format": after.format}
    line = f"{after.name}: format {before.format} before, {after.format} now"
    show(value, lambda: write(line))


def optimize(store: StoreArgument, root: Root = DEFAULT_ROOT) -> None:
    """Sort the index into a few files, so that imports and exports read less of it.

    Example: [bold]dicomferry stores optimize trial[/bold]
    """
    found = find_store(root, store)
    streams = streams_of(found.resource, str(found.name))
    followers = [stream.log_name for stream in streams]
    followers += [topic.log_name for topic in import_topics(found.resource)]
    before, after = maintenance.optimize(found, followers)
    value = {"name": str(found.name), "indexFilesBefore": before, "indexFiles": after}
    show(value, lambda: write(f"index files: {before} before, {after} now"))


def _share(text: str) -> float:
    """Return a share from a percentage."""
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0
    if not (text.endswith("%") and 0 < share <= 1):
        raise ValueError(f"--sample {text} must be a percentage above 0% and up to 100%")
    return share


def _warn_of(finding: verification.Finding) -> None:
    warn(f"{finding.sop_instance_uid}: {finding.problem}: {finding.blob}")
