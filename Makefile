# Two commands for a fresh clone: `make demo` and `make test`; `make check` while you work.
PYTHON ?= python3
BIN := .venv/bin
# A tenth of pip's time.
UV = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python
SOURCE ?=

.PHONY: demo check test clients test-clients engines test-engines test-deploy test-faults fuzz judges audit lint docs lock proto bench-import bench-export bench-table bench-start bench-scale bench-engines template test-airflow lock-airflow clean

.venv/run: requirements.txt requirements-uv.txt pyproject.toml setup.py dicomferry/pixels/codecs/_jpegls.c
	$(PYTHON) -c 'import sys; sys.exit("dicomferry needs Python 3.11 or newer; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements-uv.txt
	$(UV) --require-hashes -r requirements.txt
	$(UV) --no-deps --editable .
	touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(UV) --require-hashes -r requirements-dev.txt
	touch $@

# The BigQuery emulator of the tests has dependencies that conflict with ours.
.venv-bqemulator/run: .venv/run tests/tables/bqemulator-requirements.txt
	test -x .venv-bqemulator/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-bqemulator
	$(BIN)/uv pip install --quiet --python .venv-bqemulator/bin/python --require-hashes -r tests/tables/bqemulator-requirements.txt
	touch $@

demo: .venv/run  ## import real DICOM files into a store and export them again
	$(BIN)/dicomferry demo $(if $(SOURCE),'$(SOURCE)')

# Each process starts with its share of the tests, and takes half of the rest of another when it is
# done: no file runs alone at the end, and most fixtures of a file are made once. Many tests wait
# for jobs and servers, so there are three processes for two cores.
PROCESSES ?= $(shell expr 3 '*' $$(getconf _NPROCESSORS_ONLN) / 2)
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal --durations=10 -rs

check: lint  ## lint, types, and the tests that run no whole jobs: below two minutes
	$(PYTEST) -m 'not slow'

test: .venv-bqemulator/run .venv-deploy/done lint  ## lint, types and all tests
	$(PYTEST)

clients: .venv/dev  ## install what the tests use: Google's clients for Node, Java and Go, where these are installed, and axe-core
	$(BIN)/python -m tests.clients.install

test-clients: clients  ## call the API with Google's client library of each language, and with gcloud
	DICOMFERRY_ALL_CLIENTS=1 $(PYTEST) tests/clients

# Of the version of the SDK, with the checksums of go.sum.
build/engines/prism: tests/engines/go.mod tests/engines/go.sum
	cd tests/engines && go build -mod=readonly -o $(CURDIR)/$@ github.com/apache/beam/sdks/v2/go/cmd/prism

engines: build/engines/prism  ## build Beam's Prism from source: needs Go, takes some minutes

test-engines: .venv/dev engines  ## run all tests of whole jobs with Prism instead of the default runner
	DICOMFERRY_TEST_RUNNER=tests.engines.prism.PrismRunner $(PYTEST) $(ON_ENGINES)
	$(PYTEST) tests/engines/test_prism.py tests/engines/test_launchers.py tests/engines/test_versions.py tests/pipelines/test_portable_runner.py
	DICOMFERRY_HOST_RUNS=$(HOST_RUNS) DICOMFERRY_HOST_FILES=$(HOST_FILES) DICOMFERRY_FAULT_SEED=$(SEED) $(BIN)/python -m pytest -rsP --show-capture=stdout tests/engines/test_hosts.py
# How often a host is lost, and how many files are imported there; a nightly run takes 20 and 10000.
HOST_RUNS ?= 2
HOST_FILES ?= 1000
ON_ENGINES ?= tests/pipelines tests/transforms/test_publish_notifications.py

# Kubernetes' schemas.
.venv-deploy/done: .venv/dev tests/deploy/requirements.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-deploy
	$(BIN)/uv pip install --quiet --python .venv-deploy/bin/python --require-hashes -r tests/deploy/requirements.txt
	touch $@

# Helm's engine alone, without what talks to clusters.
build/deploy/helm: tests/deploy/helm/main.go tests/deploy/helm/go.mod tests/deploy/helm/go.sum
	cd tests/deploy/helm && go build -mod=readonly -o $(CURDIR)/$@ .

test-deploy: .venv-deploy/done $(if $(shell command -v helm),,build/deploy/helm)  ## render the Helm chart and check all manifests: needs helm, or Go to build its engine
	$(PYTEST) tests/deploy

# A vacuum and a deletion beside an import, in every order of their steps.
RACES = tests/store/test_vacuum.py::test_no_row_is_left_without_its_blob_wherever_both_are_stopped \
	tests/pipelines/test_delete_instances.py::test_no_row_is_left_without_its_blob_wherever_an_import_and_a_deletion_are_stopped
# A nightly run takes RUNS=50. The name of a failed test has its seed: SEED=N begins with it.
RUNS ?= 5
test-faults: .venv/dev  ## test with killed jobs, failing storage, hostile and odd files, hostile callers
	DICOMFERRY_FAULT_RUNS=$(RUNS) DICOMFERRY_FAULT_SEED=$(SEED) DICOMFERRY_FAULT_MUTANTS=2000 DICOMFERRY_GENERATED=$$(expr $(RUNS) '*' 2000) $(PYTEST) -rsP --show-capture=stdout --timeout=0 tests/faults tests/generated $(RACES)

.venv/fuzz/done: .venv/dev tests/faults/fuzz-requirements.txt
	$(BIN)/pip install --quiet --require-hashes --target .venv/fuzz -r tests/faults/fuzz-requirements.txt
	touch $@

# A nightly run takes INPUTS=1000000 FUZZ_SECONDS=0.
INPUTS ?= 0
FUZZ_SECONDS ?= 40
fuzz: .venv/fuzz/done  ## fuzz the readers of files, guided by coverage; takes some minutes
	PYTHONPATH=.venv/fuzz $(BIN)/python -m tests.faults.fuzz --runs $(INPUTS) --seconds $(FUZZ_SECONDS)

# A nightly run takes FILES=100000.
FILES ?= 5000
judges: .venv/dev  ## compare the Metadata of generated files with pydicom and dcmdump (Debian's package dcmtk)
	DICOMFERRY_JUDGED_FILES=$(FILES) $(BIN)/python -m pytest -rs tests/dicom/test_metadata_against_judges.py

.venv-audit/done: .venv/dev tests/audit-requirements.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-audit
	$(BIN)/uv pip install --quiet --python .venv-audit/bin/python --require-hashes -r tests/audit-requirements.txt
	touch $@

audit: .venv-audit/done  ## check the locked dependencies for known vulnerabilities; needs the internet
	$(BIN)/python -m tests.audit .venv-audit/bin/pip-audit

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

# An environment of its own: the site needs nothing of dicomferry.
.venv-docs/done: docs/requirements.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --require-hashes -r docs/requirements.txt
	touch $@

docs: .venv-docs/done  ## build the documentation site in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet

lock: .venv/dev  ## lock the dependencies of pyproject.toml, with hashes
	echo 'uv>=0.5' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 - -o requirements-uv.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --extra all pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --extra dev --extra all -c requirements.txt pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 -c requirements.txt --extra all --override deploy/server/overrides.txt pyproject.toml -o deploy/server/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 tests/tables/bqemulator-requirements.in -o tests/tables/bqemulator-requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 tests/faults/fuzz-requirements.in -o tests/faults/fuzz-requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 tests/audit-requirements.in -o tests/audit-requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 tests/deploy/requirements.in -o tests/deploy/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 docs/requirements.in -o docs/requirements.txt

proto: .venv/dev  ## generate Python from dicomferry/api/proto/*.proto
	$(BIN)/python -m dicomferry.api.proto.generate

bench-import: .venv/dev  ## compare imports with cp -r and a plain pydicom loop
	$(BIN)/python -m benchmarks.bench_import

bench-export: .venv/dev  ## compare exports with plain loops, and with dcmtk, gdcm and Orthanc where installed
	$(BIN)/python -m benchmarks.bench_export

bench-table: .venv/dev  ## compare exports to tables with a plain pydicom loop
	$(BIN)/python -m benchmarks.bench_table

bench-start: .venv/dev  ## measure the CPU time of --help, of completion, and of an import of one file
	$(BIN)/python -m benchmarks.bench_start

bench-scale: .venv/dev  ## measure each constant of docs/scale.md at two sizes, and jobs into 10 million rows: takes hours
	$(BIN)/python -m benchmarks.bench_listing
	$(BIN)/python -m benchmarks.bench_known bench-data/known
	$(BIN)/python -m benchmarks.bench_outcomes bench-data/outcomes
	$(BIN)/python -m benchmarks.bench_commits
	$(BIN)/python -m benchmarks.bench_index bench-data/index
	$(BIN)/python -m benchmarks.bench_job bench-data/job
	$(BIN)/python -m benchmarks.bench_scale grow bench-data/scale
	$(BIN)/python -m benchmarks.bench_scale compare bench-data/scale
	$(BIN)/python -m benchmarks.bench_scale optimize bench-data/scale
	$(BIN)/python -m benchmarks.bench_scale compare bench-data/scale

bench-engines: .venv/dev  ## measure jobs on 1, 2 and 4 hosts of an engine, beside the local runner: needs root
	$(BIN)/python -m benchmarks.bench_engines

image-digests: .venv/run  ## write the current digests of the base images into the Dockerfiles; needs the internet
	$(BIN)/python -m deploy.images pin

# IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/dicomferry; TEMPLATES=gs://bucket/folder.
# Without PUSH=1 it only writes the files and shows the commands.
template: .venv/run  ## write the Dataflow templates of both pipelines; see deploy/dataflow/README.md
	$(if $(PUSH),$(BIN)/python -m deploy.images check)
	$(BIN)/python -m deploy.dataflow.template spec $(or $(IMAGE),$(error name the image: make template IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/dicomferry)) build/dataflow
	@for pipeline in import_dicom export_dicom; do \
	  image=$(IMAGE)-$$(echo $$pipeline | tr _ -); \
	  for command in \
	    "docker build -f deploy/dataflow/Dockerfile --build-arg PIPELINE=$$pipeline -t $$image ." \
	    "docker push $$image" \
	    "gcloud storage cp build/dataflow/$$pipeline.json $(or $(TEMPLATES),gs://BUCKET/templates)/"; \
	  do echo "$$command"; $(if $(PUSH),$$command || exit 1,:); done; \
	done
	$(if $(PUSH),,@echo "nothing was built or pushed; add PUSH=1 TEMPLATES=gs://bucket/folder")

.venv-airflow/done: .venv/dev deploy/airflow/requirements.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-airflow
	$(BIN)/uv pip install --quiet --python .venv-airflow/bin/python --require-hashes -r deploy/airflow/requirements.txt
	touch $@

test-airflow: .venv-airflow/done  ## run the DAGs in a real Airflow, in a separate environment
	DICOMFERRY_PYTHON=$(abspath $(BIN)/python) .venv-airflow/bin/python -m pytest --noconftest -p no:cacheprovider tests/airflow_e2e

lock-airflow: .venv/dev  ## lock deploy/airflow/requirements.in, with hashes
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 deploy/airflow/requirements.in -o deploy/airflow/requirements.txt

clean:
	rm -rf .venv .venv-bqemulator .venv-airflow .venv-audit .venv-deploy .venv-docs .clients demo build dist *.egg-info
