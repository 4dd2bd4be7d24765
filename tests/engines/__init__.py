"""Engines that jobs run on in tests, as `make engines` builds them."""
