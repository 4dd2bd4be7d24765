"""Import and export as Beam pipelines: flags, and transforms connected."""

from dicomferry.extras import hush_beam

hush_beam()
