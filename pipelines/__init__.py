"""Import and export as Beam pipelines: flags, and transforms connected."""
