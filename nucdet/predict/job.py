"""A checked prediction run: its options, its files, and all that its results depend on."""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode

from nucdet.errors import InputError
from nucdet.export import ImageRecord, Metadata
from nucdet.files import find_left_over, printable, remove_left_over
from nucdet.modeling.weight_checks import weight_files
from nucdet.predict.channel_files import join_channels
from nucdet.predict.earlier import check_free, check_names, check_own, remove_planes
from nucdet.predict.finding import check_rescaled, usual_diameter
from nucdet.predict.formats import (
    FORMATS,
    check_disjoint,
    output_paths,
    plane_folders,
    plane_paths,
    shared_paths,
    stack_paths,
)
from nucdet.predict.inputs import InputFile, find_inputs
from nucdet.predict.metadata import read_metadata
from nucdet.predict.options import PredictOptions
from nucdet.predict.plane_records import Kept, StoredPlane
from nucdet.predict.records import RecordStore, file_size
from nucdet.predict.segmenter import configure
from nucdet.version import __version__


@dataclass(frozen=True)
class Job:
    """A checked prediction run, the same in every process.

    Attributes:
        options: the user's options; the output folder exists.
        files: all images, sorted.
        settings: a hash of the settings that the results for an image depend on.
        facts: names and values shown at the end of the report.
        metadata: what is known of each image besides, as columns of the tables.
        stale: an earlier run's files that cover all images and contain planes of stacks that are
            now predicted as single images.
    """

    options: PredictOptions
    files: tuple[InputFile, ...]
    settings: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    metadata: Metadata = field(default_factory=dict)
    stale: tuple[Path, ...] = ()

    @property
    def output(self) -> Path:
        """The output folder."""
        return self.options.output

    @property
    def store(self) -> RecordStore:
        """The records of which images are done and which files earlier runs wrote."""
        return RecordStore(self.output, self.settings)

    def paths(self, file: InputFile) -> dict[str, Path]:
        """The paths of an image's files, by format."""
        return output_paths(self.output, file.name, self.options.save)

    def stack_paths(self, file: InputFile) -> dict[str, Path]:
        """The paths of a stack's files, by format."""
        return stack_paths(self.output, file.name, self.options.save)

    def plane_folders(self, file: InputFile) -> dict[str, Path]:
        """The folders for the formats with one file for each plane of a stack, by format."""
        return plane_folders(self.output, file.name, self.options.save)

    def plane_paths(self, file: InputFile, plane: ImageRecord) -> dict[str, Path]:
        """The paths of the files that one plane of a stack has on its own, by format."""
        return plane_paths(self.output, file.name, plane.plane_name, self.options.save)

    def keep_planes(self, file: InputFile) -> Kept:
        """Keep the planes of a stack that are done up to the first that is not; remove the rest."""
        planes = self.store.planes(file)
        kept = planes.count(partial(self._is_whole, file))
        remove_planes(self.store, file, kept.planes)
        planes.cut(kept)
        return kept

    def shared_paths(self) -> list[Path]:
        """The paths of the files that cover all images."""
        names = ["summary.csv", "report.html"]
        if "csv" in self.options.save:
            names.append("nuclei.csv")
        shared = shared_paths(self.output, self.options.save).values()
        return [*shared, *(self.output / name for name in names)]

    def with_all_formats(self) -> Job:
        """A copy of the job with all output formats."""
        return replace(self, options=replace(self.options, save=tuple(FORMATS)))

    def check_outputs(self) -> None:
        """Raise InputError if an output's name is too long or it would replace a foreign file."""
        store, shared = self.store, self.shared_paths()
        inputs = {path.resolve() for file in self.files for path in file.paths}
        foreign = [path for path in shared if path.exists() and not store.wrote_shared(path)]
        for file in self.files:
            outputs = [*self.paths(file).values()]
            if self.options.choice.asks_for_all:
                outputs += [*self.stack_paths(file).values(), *self.plane_folders(file).values()]
            check_names(file, [*outputs, *store.paths(file)])
            there = [path for path in outputs if path.exists()]
            check_free(there, inputs)
            foreign += store.foreign(file, there)
        check_own(foreign)

    def begin_shared(self) -> None:
        """Record that the files covering all images are about to be written; remove stale ones."""
        for path in self.stale:
            path.unlink(missing_ok=True)
        store = self.store
        every = self.with_all_formats().shared_paths()
        own = {path for path in every if path.exists() and store.wrote_shared(path)}
        store.begin_shared(own | set(self.shared_paths()))

    def is_done(self, file: InputFile) -> bool:
        """Whether an image is predicted and all its outputs exist."""
        store = self.store
        planes = store.outcome(file).planes
        if not planes:
            return store.is_done(file, self.paths(file).values())
        whole = store.planes(file).count(partial(self._is_whole, file)).planes
        return whole == planes and store.is_done(file, self.stack_paths(file).values())

    def _is_whole(self, file: InputFile, plane: StoredPlane) -> bool:
        """Whether the files that a plane has on its own exist with the recorded sizes."""
        paths = self.plane_paths(file, plane.record)
        return all(file_size(path) == plane.sizes.get(n, -1) for n, path in paths.items())

    def left_to_do(self, rank: int = 0, processes: int = 1) -> list[InputFile]:
        """The files that one process predicts; with ``resume``, only those not done yet."""
        share = self.files[rank::processes]
        if not self.options.resume:
            return list(share)
        return [file for file in share if not self.is_done(file)]

    def clean_up(self) -> None:
        """Remove the temporary files that a killed run left in the output folder."""
        paths = [*self.shared_paths(), self.store.shared_path]
        for file in self.files:
            paths += [*self.paths(file).values(), *self.stack_paths(file).values()]
            paths.append(self.store.path(file))
            for folder in self.plane_folders(file).values():
                # the planes are not known before the file is opened
                paths += [
                    path for _, path in find_left_over(folder) if path.name.startswith(("t", "z"))
                ]
        remove_left_over(paths)


def prepare(options: PredictOptions) -> Job:
    """Find the images, and check everything that can be checked before the work starts.

    Raises:
        InputError, OSError: a mistake in the options or the config, no images, or an output folder
            that cannot be written to.
    """
    cfg = configure(options.config_file, None, options.overrides)
    if not cfg.TEST.OVERLAP_ELIMINATION.ENABLED:
        check_disjoint(options.save)
    check_rescaled(cfg, options.diameter)
    files = find_inputs(options.input, options.output)
    if options.channel_files is not None:
        files = join_channels(files, options.channel_files, options.channel)
    metadata = read_metadata(options.metadata, [file.file_name for file in files])
    job = Job(options, tuple(files), _settings(cfg, options), _facts(cfg, options), metadata)
    job.check_outputs()
    _make_folder(options.output)
    if options.resume:
        job.clean_up()
    return replace(job, stale=tuple(_stale(job)))


def _make_folder(output: Path) -> None:
    """Create the output folder, and check that a file can be created in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise  # run_tool reports a full disk with a remedy
        found = "a file has that name" if output.is_file() else error.strerror
        raise InputError(
            f"--output {printable(output)}: {found}; expected a folder that can be written to, or "
            "one that can be made; give another"
        ) from error


def _stale(job: Job) -> list[Path]:
    """See :attr:`Job.stale`."""
    store = job.store
    if job.options.choice.asks_for_all or not any(store.planes(f).exists() for f in job.files):
        return []
    every, mine = set(job.with_all_formats().shared_paths()), set(job.shared_paths())
    return [path for path in every - mine if store.has_listed(path)]


def _settings(cfg: CfgNode, options: PredictOptions) -> str:
    states = [file.stat() for file in weight_files(cfg.MODEL.WEIGHTS)]
    weights = [(state.st_size, state.st_mtime_ns) for state in states]
    # between two releases, a record may get a new field while the version stays the same
    kept = [field.name for field in fields(ImageRecord)]
    parts = [__version__, kept, cfg.dump(), weights, options.result_options()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _facts(cfg: CfgNode, options: PredictOptions) -> tuple[tuple[str, str], ...]:
    diameter = options.diameter or usual_diameter(cfg)
    how = {"auto": "estimated for each image", None: "not given, images resized as in evaluation"}
    threshold = cfg.TEST.SCORE_THRESHOLD
    facts = {
        "Network": Path(options.config_file).stem if options.config_file else "default model",
        "Weights": Path(cfg.MODEL.WEIGHTS).name,
        "Nucleus diameter": how.get(diameter) or f"{diameter:g} pixels",
        "Score threshold": "of the config" if threshold is None else f"{threshold:g}",
        "Nuclei at the border": "left out" if options.exclude_border else "kept",
        "Outline offset": f"{cfg.TEST.OUTLINE_OFFSET:g} pixels",
        "Pixel size": "",  # filled in at the end, see outputs.write_shared_outputs
        "nucdet": __version__,
    }
    return tuple(facts.items())
