"""Frames as pictures for people (PS3.4 Annex N)."""
