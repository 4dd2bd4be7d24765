"""A small read-only console: stores, operations, what became of every file, pictures."""

from dicomferry.console.routes import console_routes

__all__ = ["console_routes"]
