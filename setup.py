"""What Beam's `--setup_file` ships to workers; all metadata stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "transcode._jpegls",
            ["transcode/_jpegls.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
            optional=True,  # without a compiler, transcode.jpegls uses the libraries' encoders
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
