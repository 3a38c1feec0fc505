# Two commands are enough on a fresh machine: `make train` and `make test`.
# Everything happens in .venv, which is made from constraints.txt with pip alone.
#
#   PYTHON=python3.12 make test     another interpreter (for a new .venv)
#   VENV=/some/dir make test        another environment
#   ARGS="-k gae -x" make test      more arguments for pytest, rlkit train or a benchmark
#   JOBS=1 make test                as many test processes (one per core unless said, at most eight)
#
# Threads: tests run with OMP_NUM_THREADS=1 unless it is set; other targets leave it alone. Where two
# runs must agree to the last bit, set it for both: `OMP_NUM_THREADS=1 make train`.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .bench-venv
RLLIB_VENV ?= .bench-venv-rllib
WHEEL_VENV ?= .wheel-venv
RELEASE_VENVS ?= .release-venvs
TENSORFLOW_VENV ?= .tensorflow-venv
ARGS ?=
JOBS ?= auto

# TensorFlow (274 MB) is in no environment but that of its plugin's tests.
TENSORFLOW := plugins/rlkit-tensorflow
PLUGINS := $(filter-out $(TENSORFLOW),$(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))))
PROJECTS := . $(PLUGINS)
PYPROJECTS := $(addsuffix /pyproject.toml,$(PROJECTS))

# `python -m pip`, never the `pip` script: its first line holds a path that breaks when the folder moves.
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install install-learn train test test-slow test-tensorflow learn learn-long budgets test-wheels release bench soak docs lint stubs reference format wheels clean distclean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- environments ----------------------------------------------------------------------------------------
# The stamp is newer than the files it depends on once the environment holds what they ask for.

$(VENV)/.installed: $(PYPROJECTS) constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) -e '.[dev]' $(addprefix -e ./,$(PLUGINS))
	@touch $@

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python $(PIP_INSTALL) -e '.[dev,docs]'
	@touch $@

$(VENV)/.release-installed: $(VENV)/.installed
	$(BIN)/python $(PIP_INSTALL) -e '.[dev,release]'
	@touch $@

$(VENV)/.learn-installed: $(VENV)/.installed
	$(BIN)/python $(PIP_INSTALL) -e '.[dev,learn]' -e './plugins/rlkit-tools[export,tune,video]'
	@touch $@

# Stable-Baselines3 and sb3-contrib live alone, so that they can ask for older versions without touching .venv.
$(BENCH_VENV)/.installed: constraints.txt
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python $(PIP_INSTALL) torch gymnasium stable-baselines3 sb3-contrib mujoco ale-py opencv-python-headless
	@touch $@

# So does RLlib, with the gymnasium that its newest release asks for; only torch is the one of constraints.txt. Where it
# does not install, the benchmark runs without it and says so.
$(RLLIB_VENV)/.installed: constraints.txt
	test -x $(RLLIB_VENV)/bin/python || $(PYTHON) -m venv $(RLLIB_VENV)
	$(RLLIB_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		'ray[rllib]' gymnasium "$$(grep '^torch==' constraints.txt)" && touch $@ \
		|| { echo "RLlib did not install"; rm -rf $(RLLIB_VENV); }

# What is pinned for it comes first, so that the others take what it needs.
$(TENSORFLOW_VENV)/.installed: $(PYPROJECTS) $(TENSORFLOW)/pyproject.toml $(TENSORFLOW)/constraints.txt
	test -x $(TENSORFLOW_VENV)/bin/python || $(PYTHON) -m venv $(TENSORFLOW_VENV)
	$(TENSORFLOW_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(TENSORFLOW)/constraints.txt \
		tensorflow-cpu hypothesis pytest pytest-timeout -e . -e plugins/rlkit-capture -e plugins/rlkit-processes -e plugins/rlkit-ppo
	$(TENSORFLOW_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e $(TENSORFLOW)
	@touch $@

install: $(VENV)/.installed  ## make .venv and install everything, editable

# A file's tests stay together: some share what is slow to make. The longest files come first (tests/conftest.py).
SIDE_BY_SIDE := -n $(JOBS) --maxprocesses=8 --dist loadfile --no-loadscope-reorder

# ---- doing the job ---------------------------------------------------------------------------------------

train: $(VENV)/.installed  ## train PPO on CartPole-v1 until it is solved
	$(BIN)/rlkit train ppo CartPole-v1 $(ARGS)

test: $(VENV)/.installed  ## the default tests
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

# Those of TensorFlow are run too, where ARGS chooses no others.
test-slow: $(VENV)/.learn-installed $(if $(ARGS),,test-tensorflow)  ## the tests marked slow, with the envs of the extras
	$(BIN)/python -m pytest -m slow $(ARGS)

test-tensorflow: $(TENSORFLOW_VENV)/.installed  ## the tests of rlkit-tensorflow, in an environment of their own
	$(TENSORFLOW_VENV)/bin/python -m pytest -m slow $(TENSORFLOW)/tests $(ARGS)

learn: $(VENV)/.learn-installed  ## the tests that train to a published level (minutes)
	RLKIT_RESULTS=benchmarks/results $(BIN)/python -m pytest -m learn $(ARGS); status=$$?; \
		$(BIN)/python benchmarks/learning_table.py; exit $$status

LEARN_HOURS ?= 8
learn-long: $(VENV)/.learn-installed  ## levels that take hours, 8 at most (LEARN_HOURS); begun again it goes on
	RLKIT_RESULTS=benchmarks/results RLKIT_LEARN_RUNS=runs/learn-long \
		RLKIT_LEARN_UNTIL=$$(( $$(date +%s) + $(LEARN_HOURS) * 3600 )) \
		$(BIN)/python -m pytest -m learn_long $(ARGS); status=$$?; \
		$(BIN)/python benchmarks/learning_table.py; exit $$status

budgets: $(VENV)/.installed  ## write how many calls and tensor operations a step takes, which tests hold
	OMP_NUM_THREADS=1 $(BIN)/python tests/budgets/measure.py --renew

install-learn: $(VENV)/.learn-installed  ## add the envs of `make learn` to .venv

# One after the other, never at once: they would measure each other. ARGS names races (benchmarks/races.py).
bench: $(VENV)/.learn-installed $(BENCH_VENV)/.installed $(RLLIB_VENV)/.installed  ## rlkit beside its peers, half an hour; begun again it goes on
	$(BIN)/python benchmarks/bench.py --python sb3=$(BENCH_VENV)/bin/python --python rllib=$(RLLIB_VENV)/bin/python $(ARGS)

soak: $(VENV)/.installed  ## half an hour of failing envs and killed workers; memory has to be flat
	$(BIN)/python benchmarks/soak.py --json benchmarks/results/soak.json $(ARGS)

docs: $(VENV)/.docs-installed  ## build the documentation; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html $(ARGS)

# ---- habits ----------------------------------------------------------------------------------------------

lint: $(VENV)/.installed  ## ruff, formatting, mypy --strict on the core and the plugins that others build on, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=$(TENSORFLOW) $(BIN)/python -c 'from importlinter.cli import lint_imports_command as lint; lint()'

stubs: $(VENV)/.installed  ## write the type stubs of modules with settings anew
	$(BIN)/python tests/helpers/settings_stubs.py rlkit_core.algorithm.config.sections rlkit_core.algorithm.config.fault_settings \
		$(patsubst %,%.config,$(notdir $(patsubst %/config.py,%,$(wildcard plugins/*/*/config.py))))

reference: $(VENV)/.installed  ## write the generated pages of the reference anew
	$(BIN)/python tests/helpers/rllib_page.py
	$(BIN)/python tests/helpers/rllib_defaults_page.py
	$(BIN)/python tests/helpers/model_config_page.py

format: $(VENV)/.installed  ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# ---- wheels ----------------------------------------------------------------------------------------------

wheels: $(VENV)/.installed  ## build every distribution's wheel into dist/ (with the pinned hatchling)
	rm -rf dist
	set -e; for project in $(PROJECTS) $(TENSORFLOW); do $(BIN)/python -m build --wheel --no-isolation --outdir dist $$project; done

# Tests the wheels in dist/ with PYTHON, in an environment of their own. `pytest` is called as a script and not
# with `python -m`, which would put the source tree in front of what is installed.
test-wheels:  ## install the wheels in dist/ into a fresh environment and test those
	test -n "$$(ls dist/rlkit_core-*.whl)" || { echo "no wheels in dist/: run 'make wheels' first"; exit 1; }
	rm -rf $(WHEEL_VENV)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python $(PIP_INSTALL) "$$(ls dist/rlkit_core-*.whl)[dev]" $$(ls dist/*.whl | grep -v -e rlkit_core- -e rlkit_tensorflow-)
	cd $(WHEEL_VENV) && bin/python -c "import rlkit_core as m; assert 'site-packages' in m.__file__, m.__file__"
	$(WHEEL_VENV)/bin/pytest $(SIDE_BY_SIDE) $(ARGS)

# ---- release ---------------------------------------------------------------------------------------------

# `build` makes each sdist and then the wheel from that sdist. What is tried is installed from dist/, never from an index.
release: $(VENV)/.release-installed  ## build wheels and sdists, check them, try them in fresh environments
	rm -rf dist
	set -e; for project in $(PROJECTS); do $(BIN)/python -m build --no-isolation --outdir dist $$project; done
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/release/try_release.py --dist dist --work $(RELEASE_VENVS) $(ARGS)

# ---- order -----------------------------------------------------------------------------------------------

clean:  ## remove what builds and tests leave behind; keep environments and runs
	rm -rf dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find rlkit_core plugins tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and the environments too
	rm -rf $(VENV) $(BENCH_VENV) $(RLLIB_VENV) $(WHEEL_VENV) $(RELEASE_VENVS) $(TENSORFLOW_VENV)
