# make demo   sets up, renders videos, trains L3-Net on them, and ends with a report page
# make test   sets up, checks style and types, runs every test but those of Apache Beam
# make test-beam   sets up an environment with Apache Beam, runs the tests of records in it
# make faults   kills, stops, fills disks and damages files, 20 times where chance decides; tries every number of processes and devices; prints what came of it
# make fuzz   feeds 24,000 damaged files to the readers of media, records, items, manifests and checkpoints
# make lint   only the checks

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Beam has ceilings below what we pin, so it lives apart.
BEAM_VENV ?= $(VENV)-beam
BEAM_BIN := $(BEAM_VENV)/bin
RUNS ?= runs
# One process per core; a file's tests stay together, because they share compiled fixtures.
# A crash of one ends the run, because the tests left over would otherwise be waited for without end.
PARALLEL ?= -n auto --dist loadfile --max-worker-restart=0

.PHONY: pins demo demo_avlnet demo_cascade test quick-test test-beam faults fuzz lint clean

demo: $(VENV)/installed
	$(BIN)/python -m avc_jax.main --config=configs/demo.py --workdir=$(RUNS)/demo --config.data.root=$(RUNS)/demo_clips
	@echo
	@echo "The picture is $(RUNS)/demo/report.html: open it in a browser."

# Of clips that speak: small features by a network that nobody trained, as weights cannot be shipped.
NARRATED_FEATURES := --manifest=manifest.csv --random_weights=0 --streams=2d --depth_2d=18 --width=0.5 --spectrograms
demo_avlnet: $(VENV)/installed
	$(BIN)/python -m avc_jax.data.narrated --root=$(RUNS)/narrated_en --language=en
	$(BIN)/python -m avc_jax.features --videos=$(RUNS)/narrated_en --out=$(RUNS)/features_en $(NARRATED_FEATURES)
	$(BIN)/python -m avc_jax.main --config=configs/demo_avlnet.py --workdir=$(RUNS)/demo_avlnet \
	  --config.data.root=$(RUNS)/features_en

# The same network goes on in another language, beside one that learns that language alone.
demo_cascade: demo_avlnet
	$(BIN)/python -m avc_jax.data.narrated --root=$(RUNS)/narrated_ja --language=ja --clips=1200 --seed=1
	$(BIN)/python -m avc_jax.features --videos=$(RUNS)/narrated_ja --out=$(RUNS)/features_ja $(NARRATED_FEATURES)
	$(BIN)/python -m avc_jax.main --config=configs/demo_avlnet.py:cascade --workdir=$(RUNS)/demo_cascade \
	  --config.data.root=$(RUNS)/features_ja --config.train.init_from=$(RUNS)/demo_avlnet
	$(BIN)/python -m avc_jax.main --config=configs/demo_avlnet.py:cascade --workdir=$(RUNS)/demo_alone \
	  --config.data.root=$(RUNS)/features_ja --config.train.init_from=

test: $(VENV)/installed-dev lint
	$(BIN)/python -m pytest tests $(PARALLEL)

quick-test: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests $(PARALLEL) -m "not slow"

test-beam: $(BEAM_VENV)/installed
	$(BEAM_BIN)/python -m pytest tests/data/test_records_beam.py tests/data/test_records.py tests/test_prepare.py $(PARALLEL)

DRAWS ?= 20
faults: $(VENV)/installed-dev
	$(BIN)/python -m pytest tests/faults tests/parallel/test_processes.py -n auto --dist load --draws=$(DRAWS)

# FUZZ: options, see tests/fuzz/run.py
fuzz: $(VENV)/installed-dev
	JAX_PLATFORMS=cpu PYTHONPATH=.:tests $(BIN)/python -m fuzz.run $(FUZZ)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy avc_jax configs

# Resolves requirements*.in; Beam's as close to the others as its ceilings allow. By hand only: in a fresh clone, files have any age.
PIN := uv pip compile --universal --python-version 3.11 --no-header --no-annotate -q
pins:
	$(PIN) requirements.in -o requirements.txt
	$(PIN) requirements-dev.in -o requirements-dev.txt
	$(PIN) requirements-plan.in -o requirements-plan.txt
	cp requirements.txt requirements-beam.txt
	sed -E 's/^(pillow|pyarrow)==.*/\1/' requirements.in | cat - requirements-beam.in | $(PIN) - -o requirements-beam.txt

$(VENV)/installed: requirements.txt setup.py
	@echo "Setting up $(VENV): about 100 packages, one to three minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(BEAM_VENV)/installed: requirements-beam.txt requirements-dev.txt setup.py
	@echo "Setting up $(BEAM_VENV): about 130 packages, one to three minutes."
	$(PYTHON) -m venv $(BEAM_VENV)
	$(BEAM_BIN)/pip install --quiet --disable-pip-version-check -r requirements-beam.txt -r requirements-dev.txt
	$(BEAM_BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

clean:
	rm -rf $(VENV) $(BEAM_VENV) $(RUNS)

docs/config.md: avc_jax/config.py avc_jax/schema.py $(wildcard avc_jax/systems/*.py)
	@{ echo "# Config keys"; echo; echo "Written by \`make docs/config.md\`."; echo; $(BIN)/python -m avc_jax.config; } > $@
