import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nucdet.data.conversion.workers import map_images
from nucdet.errors import InputError


def _sleep(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_workers_end_with_a_killed_parent():
    code = (
        "import importlib.util; "
        f"spec = importlib.util.spec_from_file_location('sleeper', {__file__!r}); "
        "module = importlib.util.module_from_spec(spec); "
        "import sys; sys.modules['sleeper'] = module; spec.loader.exec_module(module); "
        "module.map_images(module._sleep, [60, 60], 2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline())]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(50):
        if not any(_runs(worker) for worker in workers):
            break
        time.sleep(0.1)
    assert not any(_runs(worker) for worker in workers)


def _runs(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_map_images_keeps_the_order():
    assert map_images(abs, [-3, 2, -1], 2) == [3, 2, 1]


def test_map_images_passes_an_error_on():
    with pytest.raises(TypeError, match="bad operand"):
        map_images(abs, [-3, "2", -1], 2)


def test_a_worker_that_ends_is_reported():
    with pytest.raises(InputError, match="--workers 2: a process ended"):
        map_images(os._exit, [1, 1], 2)


def test_workers_do_not_wait_for_the_locks_of_other_threads():
    lock = threading.Lock()
    released = threading.Event()

    def hold():
        with lock:
            released.wait()

    other = threading.Thread(target=hold)
    other.start()
    try:
        names = map_images(_start_method_of_worker, [0, 1], 2)
    finally:
        released.set()
        other.join()
    assert names == ["SpawnProcess"] * 2


def _start_method_of_worker(_):
    return type(multiprocessing.current_process()).__name__
