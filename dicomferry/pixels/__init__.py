"""Pixels in other forms: formats, decoding, encoding, rendering. No Beam, no storage."""
