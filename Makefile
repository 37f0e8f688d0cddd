# make quickstart: set up and train on the embedded stream; make test: set up and run the tests.
PYTHON ?= python3.11
VENV ?= .venv

quickstart: $(VENV)/installed
	$(VENV)/bin/accelerate launch -m mulki_hf.train --config quickstart $(ARGS)

test: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest $(ARGS)

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[quickstart,test]"
	touch $@

.PHONY: quickstart test
