import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nucdet.data.conversion.workers import map_images


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
