# Two commands do everything: `make run` and `make test`. Both make .venv from constraints.txt when it is missing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test test-slow test-stacks server-env airflow-env emulators llama-cpp llama-quantize image dashboard mutants check lint types arrows tests digests families bench peers clean help
DIGESTS ?= smoke
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+%?:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "assay needs Python 3.11 (found: $(PYTHON)); name one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# An environment for a cloud whose libraries want other versions than ours: constraints.txt, but for what
# constraints-CLOUD.txt says.
.venv-%/constraints.txt: constraints.txt constraints-%.txt
	@mkdir -p $(@D)
	awk -F== '{n=tolower($$1); gsub(/[_.]/, "-", n)} NR==FNR{seen[n]; print; next} !(n in seen)' constraints-$*.txt constraints.txt > $@

env-%: .venv-%/constraints.txt  ## an environment of its own, .venv-aws or .venv-gcp, to launch runs on that cloud from
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --constraint $< torch==2.13.0
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --constraint $< --editable '.[$*]'

# ZenML's server wants another fastapi and tldextract than ours: what it needs is pinned whole, on its own.
.venv-server/.ready: constraints-server.txt
	$(PYTHON) -m venv .venv-server
	.venv-server/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

server-env: .venv-server/.ready  ## the environment of a ZenML server, .venv-server: for make test-stacks and bench-server

# Azurite is Microsoft's emulator of Blob Storage, in JavaScript.
.venv-emulators/.ready: Makefile
	npm install --no-fund --no-audit --silent --prefix .venv-emulators azurite@3.35.0
	@touch $@

emulators: .venv-emulators/.ready  ## emulators that aren't Python packages, by npm: for make test-stacks

# Airflow's pins fit nothing here; its workers start our processes.
.venv-airflow/.ready: constraints-airflow.txt
	$(PYTHON) -m venv .venv-airflow
	.venv-airflow/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

airflow-env: .venv-airflow/.ready  ## an Airflow of its own, .venv-airflow: for make test-stacks

# llama.cpp's converter to GGUF is in no wheel: it comes with the source of its Python binding, nothing of which is built.
LLAMA := llama_cpp_python-0.3.36
LLAMA_SHA256 := 832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
.venv-llama-cpp/.ready: Makefile $(READY)
	rm -rf .venv-llama-cpp && $(PYTHON) -m venv .venv-llama-cpp/pip
	.venv-llama-cpp/pip/bin/pip install --quiet --disable-pip-version-check scikit-build-core
	.venv-llama-cpp/pip/bin/pip download --quiet --disable-pip-version-check --no-binary :all: --no-deps \
	  --no-build-isolation --dest .venv-llama-cpp llama-cpp-python==0.3.36
	echo "$(LLAMA_SHA256)  .venv-llama-cpp/$(LLAMA).tar.gz" | sha256sum --check --quiet
	tar -xzf .venv-llama-cpp/$(LLAMA).tar.gz -C .venv-llama-cpp --strip-components=3 --wildcards \
	  '*/vendor/llama.cpp/convert_hf_to_gguf.py' '*/vendor/llama.cpp/conversion' '*/vendor/llama.cpp/gguf-py' \
	  '*/vendor/llama.cpp/LICENSE'
	rm -rf .venv-llama-cpp/pip .venv-llama-cpp/$(LLAMA).tar.gz
	@touch $@

llama-cpp: .venv-llama-cpp/.ready  ## llama.cpp's converter to GGUF, .venv-llama-cpp: for assay export --to gguf

# llama.cpp's quantizer is a function of its library, which node-llama-cpp's package has for Linux on x86-64.
.venv-llama-cpp/lib/.ready: .venv-llama-cpp/.ready
	mkdir -p .venv-llama-cpp/lib
	cd .venv-llama-cpp/lib && npm pack --silent @node-llama-cpp/linux-x64@3.22.1 > /dev/null
	echo "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0  .venv-llama-cpp/lib/node-llama-cpp-linux-x64-3.22.1.tgz" | sha256sum --check --quiet
	tar -xzf .venv-llama-cpp/lib/*.tgz -C .venv-llama-cpp/lib --strip-components=3 --wildcards \
	  '*/libllama.v*.so' '*/libggml.v*.so' '*/libggml-base.so'
	rm .venv-llama-cpp/lib/*.tgz
	@touch $@

llama-quantize: .venv-llama-cpp/lib/.ready  ## llama.cpp's quantizer, for --dtype q4_k_m

dashboard: $(READY) .venv-server/.ready  ## ZenML's dashboard and MLflow's UI over the local stores, until Ctrl-C
	$(BIN)/assay dashboard

run: $(READY)  ## the quickstart, end to end: raw rows to a registered, evaluated model
	$(BIN)/assay run configs/runs/quickstart.yaml

test: lint types arrows tests  ## what must pass before a commit; says which tests it leaves out

check: $(READY)  ## lint, types and arrows, in seconds
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy --no-error-summary && $(BIN)/lint-imports --no-logo > /dev/null
	@! find tests -name 'test_*.py' | sed 's|.*/||' | sort | uniq -d | grep . || { echo "pytest wants each name of a test file once"; exit 1; }

# The image that steps of other stacks run in: docs/image.md. Which packages are taken is pip's own configuration.
BUILDER ?= $(shell docker info > /dev/null 2>&1 && echo docker || command -v podman || echo docker)
TARGET ?= cpu
IMAGE ?= assay:$(TARGET)$(CLOUD:%=-%)
CONSTRAINTS := $(if $(CLOUD),.venv-$(CLOUD)/constraints.txt,constraints.txt)

image: $(CONSTRAINTS)  ## the image of containerised stacks: TARGET=cpu or cuda, CLOUD=aws or gcp, IMAGE=name, PIP_CONF=file
	$(BUILDER) build --target $(TARGET) --tag $(IMAGE) \
	  --build-arg COMMIT="$$(git rev-parse HEAD)$$(git status --porcelain --untracked-files=no | grep -q . && echo +changes)" \
	  --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
	  --build-arg CONSTRAINTS=$(CONSTRAINTS) $(CLOUD:%=--build-arg EXTRAS=documents,%) \
	  $(PIP_CONF:%=--secret id=pip.conf,src=%) $(IMAGE_ARGS) .

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: $(READY)
	$(BIN)/mypy

arrows: $(READY)
	$(BIN)/lint-imports --no-logo

# One process per core; a file's tests stay together, since they share what they set up.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile

tests: $(READY)
	$(PYTEST) -m "not slow and not stacks"

test-slow: $(READY)  ## long proofs: kills, damage, sweeps, whole runs
	$(PYTEST) -m slow

test-stacks: $(READY)  ## other stacks: artifact stores and orchestrators on servers of their own
	$(PYTEST) -m stacks

mutants: $(READY)  ## which changes of the code no test notices, in contracts, scoring, gate, split, leak check (hours)
	$(BIN)/python -m mutmut run

digests: $(READY)  ## no digest has changed: smoke, or what DIGESTS names (smoke quickstart gsm8k)
	$(BIN)/python benchmarks/digests.py $(DIGESTS)

families: $(READY)  ## docs/families.md anew: what becomes of every kind of row under the templates of 16 model families
	PYTHONPATH=tests $(BIN)/python -m support.families.table > docs/families.md.new && mv docs/families.md.new docs/families.md

bench: $(READY)  ## all benchmarks; `make bench-NAME` runs one
	@for b in benchmarks/bench_*.py; do $(BIN)/python $$b || exit 1; done

bench-%: $(READY)  ## one benchmark
	$(BIN)/python benchmarks/bench_$*.py

.venv-peers/.ready: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench bench-dedup bench-minhash: .venv-peers/.ready
bench: .venv-loaders/.ready

peers: .venv-peers/.ready  ## the environment of the libraries that benchmarks compare with

# axolotl's and LLaMA-Factory's loaders, beside the packages that .venv has.
.venv-loaders/.ready: benchmarks/peers/loaders.txt $(READY)
	$(PYTHON) -m venv .venv-loaders
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > .venv-loaders/lib/python3.11/site-packages/project.pth
	.venv-loaders/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

bench-rows: .venv-loaders/.ready

clean:  ## remove the environment, the local store and caches
	rm -rf $(VENV) .venv-peers .venv-loaders .venv-aws .venv-gcp .venv-server .venv-airflow .venv-emulators .venv-llama-cpp .zenml/state .zenml/config.yaml .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
