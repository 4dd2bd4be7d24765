# A stranger's two commands: `make demo`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
SOURCE ?=

.PHONY: demo test lint lock proto bench-import bench-export bench-table clean

.venv/run: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("dicomferry needs Python 3.11 or newer; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable . || $(BIN)/pip install --quiet --no-deps --editable .
	touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	touch $@

demo: .venv/run  ## import real DICOM files into a store, export them again, show what happened
	$(BIN)/python -m service.demo $(if $(SOURCE),'$(SOURCE)')

test: .venv/dev lint  ## all tests
	$(BIN)/python -m pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: .venv/dev  ## lock the ranges of pyproject.toml, with hashes
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

proto: .venv/dev  ## write the Python of service/proto/*.proto
	$(BIN)/python -m service.proto.generate

bench-import: .venv/dev  ## this project beside cp -r and a plain pydicom loop
	$(BIN)/python -m benchmarks.bench_import

bench-export: .venv/dev  ## exports beside plain loops, and dcmtk, gdcm and Orthanc where installed
	$(BIN)/python -m benchmarks.bench_export

bench-table: .venv/dev  ## exports to tables beside a plain pydicom loop
	$(BIN)/python -m benchmarks.bench_table

clean:
	rm -rf .venv demo build dist *.egg-info
