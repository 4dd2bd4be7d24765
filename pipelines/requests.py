"""What both jobs are asked for alike, and refuse. No Beam here: the service imports it."""

import dataclasses

from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage


@dataclasses.dataclass(frozen=True)
class Request:
    """A job to run; fields mirror the flags, see --help."""

    root: Storage
    store: StoreName
    max_failures: int = dataclasses.field(default=0, kw_only=True)
    workers: int | None = dataclasses.field(default=None, kw_only=True)
    operation: str = dataclasses.field(default="", kw_only=True)
    log_format: str = dataclasses.field(default="", kw_only=True)

    def check(self) -> None:
        """Refuse what is wrong by itself, without a look at any storage.

        Raises:
            ValueError: with what is wrong and what to do.
        """
        if self.max_failures < 0:
            raise ValueError(f"--max-failures must be 0 or more, got {self.max_failures}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"--workers must be 0 or more, got {self.workers}")


def refuse_local_paths(remote_runner: str, **storages: Storage) -> None:
    """Refuse what workers of a remote runner cannot reach.

    Args:
        remote_runner: its name; '' if the job runs here.
        storages: by the names of their flags.

    Raises:
        ValueError: one of the storages, named by its flag, is local.
    """
    if not remote_runner:
        return
    for flag, storage in storages.items():
        if not storage.capabilities.is_shared:
            raise ValueError(
                f"--{flag} {storage.root} is a local path, which the workers of "
                f"{remote_runner} cannot reach: use gs://bucket/prefix"
            )
