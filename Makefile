# make demo | train-demo | published-systems | test | test-slow | lint | clean: each builds .venv first when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo train-demo published-systems test test-slow lint clean opencv
.DELETE_ON_ERROR:

.venv: $(VENV)/.complete

$(VENV)/.complete: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"nucdet needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; name another: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(MAKE) --no-print-directory opencv
	$(BIN)/python install_detectron2.py
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# opencv-python-headless has the files of opencv-python and loads where libGL is missing. Without an
# empty package that says so, `pip install 'nucdet[napari]'` would install opencv-python over these
# files, and where libGL is missing no command of nucdet would start any more.
opencv:
	@$(BIN)/python -c 'import importlib.metadata as m; m.version("opencv-python")' 2> /dev/null || \
	( set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  version=$$(sed -n 's/^opencv-python-headless==\([0-9.]*\).*/\1/p' requirements.lock); \
	  printf '[project]\nname = "opencv-python"\nversion = "%s"\n' "$$version" > "$$folder/pyproject.toml"; \
	  printf '[tool.setuptools]\npy-modules = []\n' >> "$$folder/pyproject.toml"; \
	  $(PIP) install --quiet --no-deps --no-build-isolation "$$folder" )

# The model that ships, on drawn images or on yours: make demo IMAGES=folder. As with any run of it,
# nothing but earlier results is replaced; an exit code of 3 says that it named images as not read.
demo: RESULTS := output/demo/$(if $(IMAGES),results,drawn/results)
demo: .venv
	@test -n "$(IMAGES)" || \
	    $(BIN)/python tools/convert_dataset.py synthetic --root output/demo/drawn --images 8 \
	        --val-fraction 0.5 > /dev/null
	$(BIN)/python tools/predict.py --input "$(or $(IMAGES),output/demo/drawn/images)" --output $(RESULTS) || \
	    { code=$$?; test $$code = 3 || exit $$code; }
	@echo "Look at $(RESULTS)/report.html; beside it lie label images, overlays and measurements"

# From nothing to a trained model: draw nuclei, convert, train some minutes, evaluate, look.
train-demo: export DETECTRON2_DATASETS := output/train-demo/datasets
train-demo: .venv
	$(BIN)/python tools/convert_dataset.py synthetic --root output/train-demo/datasets/synthetic
	$(BIN)/python tools/train_net.py --config-file configs/quick_schedules/mask_rcnn_lite0_FPN_synthetic.yaml
	$(BIN)/python tools/visualize_results.py --dataset synthetic_val --output-dir output/train-demo/images \
	    --input output/train-demo/inference/synthetic_val/coco_instances_results.json
	@echo "Look at output/train-demo/images (prediction beside truth); scores are in output/train-demo/evaluation.csv"

# The systems of the five reports, from DSB2018's stage1_train to the table of docs/published_systems.md:
# hours; the same command goes on after an interruption. ARGS="--only linknet_2": see the script.
DSB2018 := $(or $(DETECTRON2_DATASETS),datasets)/dsb2018
published-systems: .venv $(DSB2018)/annotations/instances_val.json
	$(BIN)/python benchmarks/published_systems.py $(ARGS)

$(DSB2018)/annotations/instances_val.json: | .venv
	$(BIN)/python tools/convert_dataset.py dsb2018 --root $(DSB2018) --folds 10 --kinds \
	    $(addprefix --groups ,$(wildcard $(DSB2018)/folds.csv))

test: .venv
	$(BIN)/python -m pytest -m "not slow" --durations=10

test-slow: .venv
	$(BIN)/python -m pytest -m slow

lint: .venv
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

clean:
	rm -rf $(VENV) output build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
