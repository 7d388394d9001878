import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

# two generations: a data loader's process may start others
_FAMILY = """
import os, time
from nucdet.lifetime import bind_forks
bind_forks()
bind_forks()
for _ in range(2):
    if os.fork():
        break
os.write(1, b"%d\\n" % os.getpid())  # in one piece, as others write too
time.sleep(60)
"""


_LATE = """
import os, time
from nucdet.lifetime import end_with_parent
parent = os.getpid()
if os.fork():
    os._exit(0)
time.sleep(0.5)
end_with_parent(parent)
os.write(1, b"lives on")
"""


# as in Python 3.14, where workers are forked from a server by default and wait forever if the
# process that reads from them is killed
_LOADER = """
import multiprocessing, os, signal, time
import torch
from nucdet.lifetime import bind_forks

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    bind_forks()
    loader = torch.utils.data.DataLoader(torch.zeros(1000, 100000), num_workers=2)
    batches = iter(loader)
    next(batches)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_the_workers_of_a_data_loader_end_with_a_killed_process(repository, tmp_path):
    script = tmp_path / "loader.py"
    script.write_text(_LOADER, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(repository)},
        start_new_session=True,
    ) as first:
        try:
            # it returns once no worker holds the pipe
            assert first.communicate(timeout=20)[0] == b""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)


# as where /dev/shm has no room for a batch
_UNSENT = """
import torch
from nucdet.errors import run_tool

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return lambda: index  # which cannot be pickled

loader = torch.utils.data.DataLoader(Data(), num_workers=1, collate_fn=lambda batch: batch)
run_tool(lambda: print(list(loader)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_a_batch_that_cannot_be_sent_is_not_waited_for(repository):
    done = subprocess.run(
        [sys.executable, "-c", _UNSENT], capture_output=True, text=True, cwd=repository, timeout=60
    )
    assert done.returncode == 2
    reason, line = done.stderr.splitlines()
    assert reason.startswith("a process could not send its result: ")
    assert line.startswith("error: DataLoader worker (pid")
    assert "exited unexpectedly: there may be too little memory" in line


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_who_comes_too_late_to_ask_ends_at_once(repository):
    done = subprocess.run([sys.executable, "-c", _LATE], capture_output=True, cwd=repository)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_what_a_killed_process_has_forked_ends_with_it(repository):
    with subprocess.Popen(
        [sys.executable, "-c", _FAMILY], stdout=subprocess.PIPE, text=True, cwd=repository
    ) as first:
        family = [int(first.stdout.readline()) for _ in range(3)]
        assert first.pid in family
        os.kill(first.pid, signal.SIGKILL)
        start = time.monotonic()
        # it ends once no process of the family holds the pipe
        assert first.stdout.read() == ""
        assert time.monotonic() - start < 30
