"""Codecs: one family of transfer syntaxes a module."""
