r"""Sort the index of a store on many workers, as `dicomferry stores optimize` does on one.

Dataflow: python -m dicomferry.pipelines.optimize_store --store=S --root=gs://B/stores \
          --runner=DataflowRunner --project=P --region=R --temp_location=gs://B/tmp \
          --setup_file=./setup.py

It is a job after another, each of which merges up to 16 runs into one at many places at once. It is
no operation: what a job has committed stays, and the next run goes on from there. Imports and
exports may run meanwhile.
"""

import functools
import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from dicomferry.pipelines import entry_point, exit_codes
from dicomferry.pipelines.engine import run_to_the_end
from dicomferry.pipelines.job import JobError, explain, message_of
from dicomferry.pipelines.options import FlagParser, beam_options, remote_runner
from dicomferry.pipelines.requests import default_root, refuse_local_paths
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.compaction import sort_index
from dicomferry.store.deletion import end_if_deleted
from dicomferry.store.dicom_store import get_store
from dicomferry.store.maintenance import optimize
from dicomferry.store.sorted_runs import Merge
from dicomferry.transforms.sort_index import SortIndex

_LOGGER = logging.getLogger(__name__)


def sort_on_workers(data: Storage, options: PipelineOptions) -> None:
    """Sort the files that an index has now; files appended meanwhile are for the next call.

    Raises:
        LookupError: the store was deleted meanwhile; nothing is left of what was written.
        JobError: a job broke.
    """

    def carry_out(merges: list[Merge]) -> None:
        pipeline = beam.Pipeline(options=options)
        _ = pipeline | beam.Create(merges, reshuffle=False) | SortIndex(data)
        try:
            run_to_the_end(pipeline)
        except Exception as error:
            end_if_deleted(data)
            raise JobError(*explain(error)) from error

    sort_index(data, carry_out)


def main(argv: Sequence[str] | None = None) -> int:
    """Optimize a store; return the process exit code."""
    parser = FlagParser(
        prog="python -m dicomferry.pipelines.optimize_store",
        description="Sort the index of a store on many workers. Flags not listed go to Beam.",
        allow_abbrev=False,
    )
    parser.add_argument("--store", required=True, help="id or full resource name of the store")
    parser.add_argument("--root", help="folder or gs://bucket/prefix that holds the stores")
    known, beam_args = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    options = beam_options(beam_args)
    try:
        root = open_storage(known.root) if known.root else default_root()
        refuse_local_paths(remote_runner(options), root=root)
        store = get_store(root, parse_store(known.store))
    except (ValueError, LookupError) as error:
        parser.error(str(error))
    try:
        sort = functools.partial(sort_on_workers, options=options)
        before, after = optimize(store, sort=sort)
    except Exception as error:
        _LOGGER.error("%s", message_of(error))
        return exit_codes.of_error(error)
    _LOGGER.info("index files: %d before, %d now", before, after)
    return 0


if __name__ == "__main__":
    entry_point.exit_with(main)
