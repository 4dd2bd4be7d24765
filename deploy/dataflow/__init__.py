"""Flex templates of both pipelines; see README.md beside this file."""
