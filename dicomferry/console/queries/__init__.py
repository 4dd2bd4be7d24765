"""Queries of the console's pages, on stores and operations."""
