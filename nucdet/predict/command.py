"""Images in, masks, measurements and a report out: what nucdet-predict runs."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import sys
import tempfile
import warnings
from datetime import timedelta
from pathlib import Path

from detectron2.config import CfgNode

from nucdet.errors import InputError
from nucdet.modeling.model_zoo import PREFIX, find_model
from nucdet.predict import Segmenter, configure
from nucdet.predict.diameter import check_diameter
from nucdet.predict.files import find_inputs
from nucdet.predict.loop import Job, predict_images
from nucdet.processes import check_devices, run_processes
from nucdet.version import __version__


def predict(args: argparse.Namespace) -> int:
    """Predict the images that the arguments name, on as many processes as they say.

    Returns:
        How many of them could not be predicted.

    Raises:
        InputError, OSError: found before any process starts, as far as that is possible.
    """
    job = prepare(args)
    try:
        # a process may wait as long as another works
        run_processes(_run_process, args, job, timeout=timedelta(days=30))
    except KeyboardInterrupt:
        done = sum(job.records().record(file) is not None for file in job.files)
        print(
            f"{done} of {len(job.files)} images are done; --resume goes on with the rest",
            file=sys.stderr,
        )
        raise
    failed = sum(job.records().error(file) is not None for file in job.files)
    print(f"{len(job.files) - failed} images predicted, {failed} failed: {job.output}")
    return failed


def prepare(args: argparse.Namespace) -> Job:
    """Check everything that can be checked before the work starts.

    Raises:
        InputError, OSError: a mistake in the arguments, an output folder that cannot be written.
    """
    check_diameter(args.diameter)
    if args.pixel_size is not None and not 0 < args.pixel_size < math.inf:
        raise InputError(f"--pixel-size {args.pixel_size}: expected a number of µm above 0")
    check_devices(args)
    opts = list(args.opts)
    if args.outline_offset is not None:
        opts += ["TEST.OUTLINE_OFFSET", str(args.outline_offset)]
    cfg = configure(args.config_file or None, None, opts)
    output = Path(args.output)
    files = find_inputs(args.input, output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output):
        pass  # it can be written to
    return Job(
        files=tuple(files),
        output=output,
        formats=tuple(args.save),
        config_file=args.config_file or None,
        opts=tuple(opts),
        diameter=args.diameter,
        pixel_size=args.pixel_size,
        page=args.page,
        resume=args.resume,
        settings=_settings(cfg, args),
        facts=_facts(cfg, args),
    )


def _run_process(job: Job) -> None:
    # what Detectron2's code makes torch say tells a user nothing and breaks the progress bar
    warnings.filterwarnings("ignore", message=r"torch\.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    predict_images(job, lambda: Segmenter(job.config_file, overrides=job.opts))


def _settings(cfg: CfgNode, args: argparse.Namespace) -> str:
    """A text that differs wherever an image's outputs would."""
    name = cfg.MODEL.WEIGHTS
    weights = find_model(name).weights if name.startswith(PREFIX) else Path(name)
    state = [weights.stat().st_size, weights.stat().st_mtime_ns] if weights.is_file() else None
    parts = [__version__, cfg.dump(), state, args.diameter, args.pixel_size, args.page]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _facts(cfg: CfgNode, args: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    diameter = f"{args.diameter:g} pixels" if isinstance(args.diameter, float) else args.diameter
    facts = {
        "Network": Path(args.config_file).stem if args.config_file else "default model",
        "Weights": Path(cfg.MODEL.WEIGHTS).name,
        "Nucleus diameter": diameter or "not given, images resized as in evaluation",
        "Outline offset": f"{cfg.TEST.OUTLINE_OFFSET:g} pixels",
        "Pixel size": f"{args.pixel_size:g} µm" if args.pixel_size else "not given",
        "nucdet": __version__,
    }
    return tuple(facts.items())
