"""Bulk import and export for DICOM archives, as Apache Beam jobs.

>>> import dicomferry
>>> store = dicomferry.create_store("trial")
>>> result = store.import_files("dicom/*.dcm")
>>> result.ok, result.counts
(True, {'imported': 4})

Each name is imported on first use, because importing Beam alone takes two seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicomferry.pipelines.job import JobError
    from dicomferry.public.functions import (
        create_store,
        export_files,
        export_table,
        import_files,
        open_store,
    )
    from dicomferry.public.results import DeletionResult, ExportResult, ImportResult
    from dicomferry.public.stores import Store, StoreMetrics
    from dicomferry.store.dicom_store import StoreExistsError, StoreNotFoundError
    from dicomferry.transforms.export_instances import ExportInstances, ExportJob
    from dicomferry.transforms.import_instances import ImportInstances, ImportJob
    from dicomferry.transforms.list_sources import ListSources

__version__ = "0.1.0"
__all__ = [
    "DeletionResult",
    "ExportInstances",
    "ExportJob",
    "ExportResult",
    "ImportInstances",
    "ImportJob",
    "ImportResult",
    "JobError",
    "ListSources",
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
    "ExportInstances": "transforms.export_instances",
    "ExportJob": "transforms.export_instances",
    "ImportInstances": "transforms.import_instances",
    "ImportJob": "transforms.import_instances",
    "ListSources": "transforms.list_sources",
    "DeletionResult": "public.results",
    "ExportResult": "public.results",
    "ImportResult": "public.results",
    "JobError": "pipelines.job",
    "Store": "public.stores",
    "StoreExistsError": "store.dicom_store",
    "StoreMetrics": "public.stores",
    "StoreNotFoundError": "store.dicom_store",
    "create_store": "public.functions",
    "export_files": "public.functions",
    "export_table": "public.functions",
    "import_files": "public.functions",
    "open_store": "public.functions",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'dicomferry' has no attribute {name!r}")
    value = getattr(import_module(f"dicomferry.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names: for completion in shells and notebooks."""
    return __all__
