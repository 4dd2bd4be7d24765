"""Bulk import and export for DICOM archives, as Apache Beam jobs.

>>> import dicomferry
>>> store = dicomferry.create_store("trial")
>>> result = store.import_files("dicom/*.dcm")
>>> result.ok, result.counts
(True, {'imported': 4})

Everything is imported when it is first used: Beam alone takes two seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicomferry.pipelines.job import JobError
    from dicomferry.public.results import ExportResult, ImportResult
    from dicomferry.public.stores import (
        Store,
        StoreMetrics,
        create_store,
        export_files,
        export_table,
        import_files,
        open_store,
    )
    from dicomferry.store.dicom_store import StoreExistsError, StoreNotFoundError

__version__ = "0.1.0"
__all__ = [
    "ExportResult",
    "ImportResult",
    "JobError",
    "Store",
    "StoreExistsError",
    "StoreMetrics",
    "StoreNotFoundError",
    "__version__",
    "create_store",
    "export_files",
    "export_table",
    "import_files",
    "open_store",
]

_MODULES = {
    "ExportResult": "public.results",
    "ImportResult": "public.results",
    "JobError": "pipelines.job",
    "Store": "public.stores",
    "StoreExistsError": "store.dicom_store",
    "StoreMetrics": "public.stores",
    "StoreNotFoundError": "store.dicom_store",
    "create_store": "public.stores",
    "export_files": "public.stores",
    "export_table": "public.stores",
    "import_files": "public.stores",
    "open_store": "public.stores",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module, when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'dicomferry' has no attribute {name!r}")
    value = getattr(import_module(f"dicomferry.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names: for completion in shells and notebooks."""
    return __all__
