"""A checked prediction run: its files, its options, and what it depends on."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode

from nucdet.files import remove_left_over
from nucdet.modeling.model_zoo import PREFIX, find_model
from nucdet.predict.files import InputFile, find_inputs
from nucdet.predict.formats import output_paths, shared_paths
from nucdet.predict.options import PredictOptions
from nucdet.predict.records import RecordStore
from nucdet.predict.segmenter import configure
from nucdet.version import __version__


@dataclass(frozen=True)
class Job:
    """A checked prediction run, the same in every process.

    Attributes:
        options: what the user asks for; their output folder exists.
        files: all images, sorted.
        settings: a text that differs wherever the results for an image would.
        facts: names and values for the end of the report.
    """

    options: PredictOptions
    files: tuple[InputFile, ...]
    settings: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def output(self) -> Path:
        """The output folder."""
        return self.options.output

    def records(self) -> RecordStore:
        """What is done."""
        return RecordStore(self.output, self.settings)

    def paths(self, file: InputFile) -> dict[str, Path]:
        """Where the files of an image go, by format."""
        return output_paths(self.output, file.name, self.options.save)

    def left_to_do(self, rank: int = 0, processes: int = 1) -> list[InputFile]:
        """One process's share of the files, with ``resume`` without those that are done."""
        share, store = self.files[rank::processes], self.records()
        if not self.options.resume:
            return list(share)
        return [file for file in share if not store.is_done(file, self.paths(file).values())]

    def clean_up(self) -> None:
        """Remove the temporary files that a killed run of the same output folder left."""
        shared = [*shared_paths(self.output, self.options.save).values()]
        shared += [self.output / name for name in ("summary.csv", "nuclei.csv", "report.html")]
        records = self.records()
        single = (p for f in self.files for p in (*self.paths(f).values(), records.path(f)))
        remove_left_over([*shared, *single])


def prepare(options: PredictOptions) -> Job:
    """Check everything that can be checked before the work starts, and find the images.

    Raises:
        InputError, OSError: a mistake in the options or the config, no images, or an output folder
            that cannot be written to.
    """
    cfg = configure(options.config_file, None, options.overrides)
    files = find_inputs(options.input, options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=options.output):
        pass  # it can be written to
    job = Job(options, tuple(files), _settings(cfg, options), _facts(cfg, options))
    if options.resume:
        job.clean_up()
    return job


def _settings(cfg: CfgNode, options: PredictOptions) -> str:
    name = cfg.MODEL.WEIGHTS
    weights = find_model(name).weights if name.startswith(PREFIX) else Path(name)
    state = [weights.stat().st_size, weights.stat().st_mtime_ns] if weights.is_file() else None
    parts = [__version__, cfg.dump(), state, options.result_options()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _facts(cfg: CfgNode, options: PredictOptions) -> tuple[tuple[str, str], ...]:
    diameter = options.diameter
    threshold = cfg.TEST.SCORE_THRESHOLD
    diameter = f"{diameter:g} pixels" if isinstance(diameter, float) else diameter
    facts = {
        "Network": Path(options.config_file).stem if options.config_file else "default model",
        "Weights": Path(cfg.MODEL.WEIGHTS).name,
        "Nucleus diameter": diameter or "not given, images resized as in evaluation",
        "Score threshold": "of the config" if threshold is None else f"{threshold:g}",
        "Nuclei at the border": "left out" if options.exclude_border else "kept",
        "Outline offset": f"{cfg.TEST.OUTLINE_OFFSET:g} pixels",
        "Pixel size": f"{options.pixel_size:g} µm" if options.pixel_size else "not given",
        "nucdet": __version__,
    }
    return tuple(facts.items())
