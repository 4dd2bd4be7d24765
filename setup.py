"""The C extension, and the file for Beam's `--setup_file`; pyproject.toml has the metadata."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dicomferry.pixels.codecs._jpegls",
            ["dicomferry/pixels/codecs/_jpegls.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,  # without a compiler, codecs/jpegls.py uses the libraries' encoders
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
