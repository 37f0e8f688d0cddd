# Each target sets up .venv by itself. ARGS are passed on: `make test ARGS="-k lora"`, `make quickstart ARGS="--seed 1"`.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 12

quickstart: $(VENV)/installed ## train on the embedded stream, offline
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/mulki-hf train --config quickstart $(ARGS)

nano-mtil: $(VENV)/installed ## every method on ten tasks in two orders, three seeds each, offline; goes on where it stopped
	$(BIN)/python recipes/nano_mtil/run.py grid --output_dir runs/nano_mtil $(ARGS)
	$(BIN)/python recipes/nano_mtil/table.py runs/nano_mtil --record runs/nano_mtil/results.json \
	--picture runs/nano_mtil/transfer_last.png

PYTEST = $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test: lint types ## lint, types and the tests, on two cores
	$(PYTEST) -m "not long" $(ARGS)

test-all: lint types ## the same with the tests that take long
	$(PYTEST) $(ARGS)

lint: $(VENV)/installed ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed ## mypy
	$(BIN)/mypy

options: $(VENV)/installed ## write down anew what `mulki-hf train --help` says of the options
	$(BIN)/python -m mulki_hf.help

wheel: $(VENV)/installed ## build the wheel and use it in an environment of its own
	rm -rf $(VENV)/dist $(VENV)/clean
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(VENV)/dist .
	$(BIN)/python -m venv $(VENV)/clean
	$(VENV)/clean/bin/python -m pip install --quiet --constraint constraints.txt $(VENV)/dist/*.whl
	cd $(VENV)/clean && bin/python -c "import mulki_hf.train, mulki_hf.push; from mulki_hf.config.parser import parse; \
	from mulki_hf.resources import resource; from mulki_hf.models.loading import load_model; \
	parse(['--config', 'quickstart', '--use_cpu', 'true']); load_model('clip-nano'); \
	cards = ('task_card.md.jinja', 'adapter_card.md.jinja', 'clip-nano.md'); \
	assert all(resource(f'model_cards/{name}').is_file() for name in cards); print('the wheel stands by itself')"
	cd $(VENV)/clean && bin/mulki-hf --help && bin/mulki-hf train --help | grep -e --learning_rate && \
	bin/mulki-hf recipes quickstart --print | cmp - $(CURDIR)/recipes/quickstart.yaml

$(VENV)/installed: pyproject.toml constraints.txt tests/requirements-no-deps.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[quickstart,test]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/requirements-no-deps.txt
	touch $@

.DEFAULT_GOAL = help
.PHONY: help quickstart nano-mtil test test-all lint types options wheel
