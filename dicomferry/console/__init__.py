"""Read-only web console: stores, operations, outcomes of files, pictures."""

from dicomferry.console.routes import console_routes

__all__ = ["console_routes"]
