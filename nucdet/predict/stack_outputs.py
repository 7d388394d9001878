"""The files of a stack: planes are kept as they come, and become one file a format at the end."""

from __future__ import annotations

from dataclasses import replace

from nucdet.data.io.planes import Planes
from nucdet.export import csv_text
from nucdet.predict.earlier import begin, remove_planes
from nucdet.predict.files import InputFile
from nucdet.predict.formats import FORMATS, ImageOutputs
from nucdet.predict.job import Job
from nucdet.predict.plane_records import StoredPlane, StoredStack
from nucdet.predict.records import StackFacts


class StackWriter:
    """Takes the planes of one file in their order; one plane is in memory at a time.

    Attributes:
        done: how many planes are kept, by an earlier run too.
        has_failed: whether a plane could not be predicted; no more are taken then.
    """

    def __init__(self, file: InputFile, planes: Planes, job: Job):
        """
        Args:
            file: the stack, which counts as not done from here to the end.
            planes: of it.
            job: with ``resume``, planes that an earlier run has kept stay.
        """
        self._file, self._planes, self._job = file, planes, job
        self._stored = job.store.planes(file)
        self.has_failed = False
        outputs = [*job.stack_paths(file).values(), *job.plane_folders(file).values()]
        begin(job.store, file, outputs, is_stack=True)
        if not job.options.resume:
            remove_planes(job.store, file)
        self.done, self._nuclei, _ = job.keep_planes(file)

    @property
    def left(self) -> int:
        """How many planes are not kept yet."""
        return len(self._planes) - self.done

    def write(self, outputs: ImageOutputs) -> None:
        """Keep the next plane, and write the files of the stack when it is the last.

        Raises:
            OSError: a file cannot be written.
        """
        ids = outputs.table["id"] + self._nuclei
        columns = outputs.record.columns | {"id": ids.tolist()}
        record = replace(outputs.record, columns=columns, axes=self._planes.axes)
        paths = self._job.plane_paths(self._file, record)
        for name, path in paths.items():
            FORMATS[name].write(path, outputs)
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        text = csv_text(outputs.table.assign(id=ids))
        self._stored.append(StoredPlane(record, text, sizes))
        self.done += 1
        self._nuclei += len(ids)
        if not self.left:
            self.finish()

    def finish(self) -> None:
        """Write the files of the stack, and last of all its record, with their sizes.

        Raises:
            OSError: a file cannot be written.
        """
        paths = self._job.stack_paths(self._file)
        planes = self._planes
        stack = StoredStack(self._stored, planes.lengths, self._nuclei, planes.is_whole)
        for name, path in paths.items():
            FORMATS[name].write_stack(path, stack)
        first = next(iter(self._stored)).record
        facts = StackFacts(self.done, first.pixel_size)
        self._job.store.save(self._file, None, outputs=paths.values(), stack=facts)
