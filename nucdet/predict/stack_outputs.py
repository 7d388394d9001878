"""Write the files of a stack: each plane is stored when it is predicted, the files at the end."""

from __future__ import annotations

from dataclasses import replace

from nucdet.data.io.planes import Planes
from nucdet.export import csv_text
from nucdet.predict.earlier import begin, remove_planes
from nucdet.predict.formats import FORMATS, ImageOutputs
from nucdet.predict.inputs import InputFile
from nucdet.predict.job import Job
from nucdet.predict.linking import PlaneLinks
from nucdet.predict.plane_records import StoredPlane, StoredStack
from nucdet.predict.records import StackFacts


class StackWriter:
    """Stores the planes of one file in order; only one plane is in memory at a time.

    Attributes:
        done: the number of planes stored so far, including those of an earlier run.
        has_failed: whether a plane could not be predicted; later planes are then skipped.
    """

    def __init__(self, file: InputFile, planes: Planes, job: Job):
        """
        Args:
            file: the stack, which counts as not done until :meth:`finish`.
            planes: the planes of the stack.
            job: with ``resume``, planes that an earlier run has stored are kept.
        """
        self._file, self._planes, self._job = file, planes, job
        self._stored = job.store.planes(file)
        self.has_failed = False
        outputs = [*job.stack_paths(file).values(), *job.plane_folders(file).values()]
        begin(job.store, file, outputs, is_stack=True)
        if not job.options.resume:
            remove_planes(job.store, file)
        self.done = job.keep_planes(file).planes
        self._links = PlaneLinks(job.options.link)
        self._links.resume(plane.record for plane in self._stored)

    @property
    def left(self) -> int:
        """The number of planes that are still to be stored."""
        return len(self._planes) - self.done

    def write(self, outputs: ImageOutputs) -> None:
        """Store the next plane, and write the files of the stack if it is the last.

        Raises:
            OSError: a file cannot be written.
        """
        ids = self._links.number(outputs.masks, outputs.record.place)
        columns = outputs.record.columns | {"id": ids.tolist()}
        record = replace(outputs.record, columns=columns, axes=self._planes.axes)
        paths = self._job.plane_paths(self._file, record)
        for name, path in paths.items():
            path.parent.mkdir(exist_ok=True)
            FORMATS[name].write(path, outputs)
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        text = csv_text(outputs.table.assign(id=ids))
        self._stored.append(StoredPlane(record, text, sizes))
        self.done += 1
        if not self.left:
            self.finish()

    def finish(self) -> None:
        """Write the files of the stack, and finally its record, which contains their sizes.

        Raises:
            OSError: a file cannot be written.
        """
        paths = self._job.stack_paths(self._file)
        planes, link = self._planes, self._job.options.link
        stack = StoredStack(
            self._stored, planes.lengths, self._links.count, planes.is_whole, link, planes.z_step
        )
        for name, path in paths.items():
            FORMATS[name].write_stack(path, stack)
        first = next(iter(self._stored)).record
        facts = StackFacts(self.done, first.pixel_size)
        self._job.store.save_stack(self._file, facts, paths.values())
