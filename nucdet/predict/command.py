"""Images in, masks, measurements and a report out: tools/predict.py and nucdet-predict."""

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

import torch
from detectron2.config import CfgNode

from nucdet.errors import InputError, run_tool
from nucdet.modeling.model_zoo import PREFIX, find_model
from nucdet.predict import Segmenter, configure
from nucdet.predict.diameter import check_diameter
from nucdet.predict.files import find_inputs
from nucdet.predict.loop import Job, predict_images
from nucdet.predict.outputs import FORMATS
from nucdet.processes import run_processes
from nucdet.version import __version__

# exit code of a run that left out images because they could not be read
SOME_FAILED = 3

_EPILOG = f"""
Outputs, with the folders of the input kept:
  label     NAME_label.tif    pixels hold the number of their nucleus (16 bits; 32 above 65,535)
  overlay   NAME_overlay.png  outlines on the image
  csv       NAME.csv          a row a nucleus: place, area, shape, intensity, score
  geojson   NAME.geojson      outlines for QuPath
  roi       NAME_rois.zip     outlines for ImageJ's ROI Manager
  coco      predictions_coco.json, kaggle   kaggle.csv: one file for all images
  summary.csv and report.html are always written; the folder .records is for --resume.

Exit codes: 0 all images predicted; {SOME_FAILED} some could not be read (they are named, the rest
is complete); 2 a mistake in the command or an output that cannot be written; 130 interrupted (only
whole files are left; --resume goes on).

Examples:
  %(prog)s --input images --output results
  %(prog)s --input 'images/**/*_dapi.tif' --output results --save label,roi --pixel-size 0.32 \\
      --config-file configs/DSB2018/mask_rcnn_lite0_FPN.yaml MODEL.WEIGHTS model_best.pth
"""


def command_line() -> None:
    """The command ``nucdet-predict``: parse, predict, exit."""
    run_tool(lambda: predict(_parser().parse_args()))


def predict(args: argparse.Namespace) -> int:
    """Predict the images that the arguments name, on as many processes as they say.

    Returns:
        0, or :data:`SOME_FAILED`.

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
    return SOME_FAILED if failed else 0


def prepare(args: argparse.Namespace) -> Job:
    """Check everything that can be checked before the work starts.

    Raises:
        InputError, OSError: a mistake in the arguments, an output folder that cannot be written.
    """
    formats = [name.strip() for name in args.save.split(",") if name.strip()]
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise InputError(f"--save {args.save}: no format {unknown[0]!r}; expected {_FORMATS_TEXT}")
    check_diameter(args.diameter)
    if args.pixel_size is not None and not 0 < args.pixel_size < math.inf:
        raise InputError(f"--pixel-size {args.pixel_size}: expected a number of µm above 0")
    if torch.cuda.is_available() and args.num_gpus > torch.cuda.device_count():
        raise InputError(f"--num-gpus {args.num_gpus}: found {torch.cuda.device_count()}")
    if args.num_machines > 1 and args.dist_url == "auto":
        raise InputError("--num-machines needs --dist-url tcp://<first machine>:<port>")
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
        formats=tuple(formats),
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


_FORMATS_TEXT = "a list of " + ",".join(FORMATS)


def parse_diameter(text: str) -> float | str:
    """The argument of ``--diameter``: a number of pixels or "auto"."""
    return text if text == "auto" else float(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Find the nuclei of images: masks, measurements and a report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="files, folders (searched with all below them) or quoted patterns",
    )
    add("--output", required=True, metavar="DIR", help="folder, made if missing")
    add(
        "--save",
        default="label,overlay,csv",
        metavar="LIST",
        help=f"{_FORMATS_TEXT} (default: %(default)s)",
    )
    add("--config-file", default="", metavar="FILE", help="yaml (default: the model of nucdet)")
    add("--pixel-size", type=float, metavar="µm", help="measure in µm instead of pixels")
    add(
        "--diameter",
        type=parse_diameter,
        metavar="PIXELS|auto",
        help="of the nuclei, where they are much larger or smaller than in training",
    )
    add(
        "--outline-offset",
        type=float,
        metavar="PIXELS",
        help="move the outlines outwards, into free background, or inwards if negative",
    )
    add("--page", type=int, metavar="K", help="of files that hold several, from 0")
    add("--resume", action="store_true", help="leave out what an earlier run has done")
    add("--num-gpus", type=int, default=1, metavar="N", help="processes on each machine")
    add("--num-machines", type=int, default=1, metavar="N", help="that share the output folder")
    add("--machine-rank", type=int, default=0, metavar="K", help="of this machine, from 0")
    add("--dist-url", default="auto", metavar="URL", help="where several machines meet")
    add("opts", nargs="*", metavar="KEY VALUE", help="pairs that override the config file")
    return parser
