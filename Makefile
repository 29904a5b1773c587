# Every command of a developer. Each target makes .venv first where it is missing or stale.

DATA ?=
WORKERS ?= 2
export PYTHON
PY := .venv/bin/python
UV_COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/uv pip compile --quiet --generate-hashes \
	--python-version 3.11 $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help install demo test docs rehearse conformance flink k8s-tools browser lint format protos reference lock clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' Makefile

install:  ## Make .venv hold exactly the lock (the other targets do this by themselves).
	@requirements/install

demo: install  ## Train, index, serve and evaluate; DATA=DIRECTORY or DATA=synthetic chooses the data.
	$(PY) -m pipeline.demo $(if $(DATA),--data "$(DATA)") --output build/demo

test: install  ## Run the tests; ARGS="-k words tests/serving" some of them, WORKERS=0 in one process.
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

docs: install  ## Run every command of README.md and docs/ on small data; ARGS="-k serving" those of a page.
	$(PY) -m pytest -s -m commands tests/docs $(ARGS)

rehearse: install k8s-tools  ## Follow k8s/README.md here, with users who must not notice; PACE=1: at a cluster's pace.
	$(PY) -m tests.rehearsal $(if $(PACE),--pace "$(PACE)")

# With ENDPOINT, the suite itself needs only what a client does, NumPy, pytest and pytest-timeout.
conformance: install  ## Check a server: ENDPOINT=host:port MODEL=name [CA= CERT= KEY= CATEGORIES= ITEMS= BATCHING=1].
	CONFORMANCE_ENDPOINT="$(ENDPOINT)" CONFORMANCE_MODEL="$(MODEL)" CONFORMANCE_CA="$(CA)" CONFORMANCE_CERT="$(CERT)" \
	CONFORMANCE_KEY="$(KEY)" CONFORMANCE_CATEGORIES="$(CATEGORIES)" CONFORMANCE_ITEMS="$(ITEMS)" \
	CONFORMANCE_BATCHING="$(BATCHING)" \
	$(PY) -m pytest --confcutdir tests/conformance tests/conformance $(ARGS)

flink: install  ## Get a local Flink (Java and Maven needed), which `make test` then runs a build on.
	$(PY) requirements/flink/install.py $(if $(RELOCK),--relock)

k8s-tools:  ## Get kustomize and promtool (Go and apt-get needed), with which `make test` checks k8s/.
	k8s/tools/install

browser:  ## Get Chromium (apt-get and root needed), in which `make test` looks at the trainer's report.
	requirements/install-browser

lint: install  ## Check style and formatting.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: install  ## Mend style and formatting.
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

protos: install  ## Generate protos/*_pb2.py.
	$(PY) -m grpc_tools.protoc -I. --python_out=. protos/*.proto

reference: install  ## Write docs/configuration.md from the code.
	$(PY) -m trainer.config_reference --output docs/configuration.md

# The client runs anywhere; the rest is for Linux, the only system that all of it has wheels for.
lock: install  ## Pin what setup.py asks for, with hashes; UPGRADE=1 takes the newest that fits.
	$(UV_COMPILE) --universal requirements/bootstrap.in -o requirements/bootstrap.txt
	$(UV_COMPILE) --python-platform linux --extra dev setup.py -o requirements/dev.txt
	$(UV_COMPILE) --universal --constraint requirements/dev.txt setup.py -o requirements/client.txt
	$(UV_COMPILE) --python-platform linux --constraint requirements/dev.txt --extra storage setup.py -o requirements/tools.txt
	$(UV_COMPILE) --python-platform linux --constraint requirements/dev.txt --extra all setup.py -o requirements/all.txt
	$(UV_COMPILE) --python-platform linux --constraint requirements/dev.txt k8s/images/gpu.in -o k8s/images/gpu.txt

clean:  ## Remove what was built, but not .venv.
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
