"""A file that is a stack in one run and an image in the next, into the same folder."""

from __future__ import annotations

from dataclasses import replace

from nucdet.predict.job import _stale
from nucdet.predict.run import predict_images

KINDS = ({"z": 1, "time": 1}, {"z": "all", "time": "all"})


def run(made, segmenter):
    made.check_outputs()
    predict_images(replace(made, stale=tuple(_stale(made))), segmenter())


def test_nothing_of_a_stack_is_left_beside_an_image(job, bright_is_nucleus, contents):
    image, stack = KINDS
    run(job(**stack), bright_is_nucleus)
    (job().output / "film_of_the_user.csv").write_text("mine")
    run(job(**image, save=("label",)), bright_is_nucleus)
    run(job("fresh", **image, save=("label",)), bright_is_nucleus)
    left = set(contents(job().output)) - {"film_of_the_user.csv"}
    assert left == set(contents(job("fresh").output))


def test_nothing_of_an_image_is_left_beside_a_stack(job, bright_is_nucleus, contents):
    image, stack = KINDS
    run(job(**image), bright_is_nucleus)
    run(job(**stack), bright_is_nucleus)
    run(job("fresh", **stack), bright_is_nucleus)
    assert contents(job().output) == contents(job("fresh").output)


def test_planes_that_are_no_longer_asked_for_have_no_overlays(job, bright_is_nucleus):
    run(job(), bright_is_nucleus)
    run(job(z=1), bright_is_nucleus)
    overlays = sorted(path.name for path in (job().output / "film_overlay").iterdir())
    assert overlays == ["t0000.png", "t0001.png"]


def test_a_stack_that_cannot_be_opened_keeps_nothing_of_an_earlier_run(job, bright_is_nucleus):
    made = job()
    run(made, bright_is_nucleus)
    made.files[0].path.write_bytes(b"II*\0 cut short")
    run(made, bright_is_nucleus)
    assert not list(made.output.glob("film*"))
    assert made.store.outcome(made.files[0]).error


def test_planes_before_one_that_fails_stay_for_resume(job, bright_is_nucleus):
    run(job(), bright_is_nucleus)
    predict_images(job(), bright_is_nucleus(stop_at=(1, 0), error=MemoryError))
    assert not list(job().output.glob("film*.*"))
    overlays = sorted(path.name for path in (job().output / "film_overlay").iterdir())
    assert overlays == ["t0000_z0000.png", "t0000_z0001.png"]
    again = bright_is_nucleus()
    predict_images(job(resume=True), again)
    assert again.seen == [(1, 0), (1, 1)]
