"""Bring all copies of a SOP Instance UID together, in buckets that one commit can hold.

A bucket is a range of UIDs, the order in which files of the index are sorted. So a bucket looks
into its own part of each file alone, all buckets of a job read the index once, and the files that
they write do not overlap. A hash of the UID would need no bounds, but would scatter UIDs that a
scanner numbers one after the other, which now share row groups.
"""

import dataclasses
import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from dicomferry.transforms.prepare_instances import BUCKET_ROWS
from dicomferry.transforms.records import Instance

# Of so many instances about one is a sample: a bucket has 100, and its rows vary by a tenth. They
# are some 110 MB at a billion instances, in one worker.
_INSTANCES_PER_SAMPLE = 1000


@dataclasses.dataclass
class GroupByBucket(beam.PTransform):
    """Group instances by ranges of their SOP Instance UIDs.

    Where the ranges begin is known when the last file is read: the instances wait for that on
    disk, once more than for the shuffle that follows.

    Attributes:
        is_one: whether all instances fit into one bucket, so that there is nothing to find out.
    """

    is_one: bool = False

    def expand(
        self, instances: beam.PCollection[Instance]
    ) -> beam.PCollection[tuple[int, Iterable[Instance]]]:
        """Key instances by bucket and group them.

        Returns:
            (bucket, its instances): all copies of a SOP Instance UID are in one bucket.
        """
        bounds: list[str] | beam.pvalue.AsSingleton = []
        if not self.is_one:
            bounds = beam.pvalue.AsSingleton(
                instances
                | "Sample" >> beam.FlatMap(sample)
                | "GatherSamples" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
                | "Bounds" >> beam.Map(bounds_of)
            )
        return (
            instances
            | "KeyByBucket" >> beam.Map(key_by_bucket, bounds)
            | "GroupByBucket" >> beam.GroupByKey()
        )


def sample(instance: Instance) -> Iterator[str]:
    """Yield the SOP Instance UID of about one of a thousand instances.

    They are chosen by their sources: a step that runs again chooses the same, and a UID with many
    copies has as many samples as others together.
    """
    source = instance.source_uri.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(source, digest_size=8).digest()
    if int.from_bytes(digest) % _INSTANCES_PER_SAMPLE == 0:
        yield instance.sop_instance_uid


def bounds_of(samples: Sequence[str]) -> list[str]:
    """Return the UIDs that the second bucket, and later ones, begin with.

    Args:
        samples: in any order. Buckets have as many of them, but for copies of one UID, which are
            never divided.
    """
    buckets = -(-len(samples) * _INSTANCES_PER_SAMPLE // BUCKET_ROWS)
    ordered = sorted(samples)
    starts = {ordered[len(ordered) * number // buckets] for number in range(1, buckets)}
    return sorted(starts)


def key_by_bucket(instance: Instance, bounds: Sequence[str]) -> tuple[int, Instance]:
    """Return an instance with the number of its bucket."""
    return bisect_right(bounds, instance.sop_instance_uid), instance
