import subprocess
import sys

import pytest
from torch.multiprocessing import ProcessRaisedException

from nucdet.errors import InputError, run_tool
from nucdet.processes import _own_error

TRACEBACK = (
    "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n"
)


def raised(last_line):
    return ProcessRaisedException(f'{TRACEBACK}  File "a.py", line 1\n{last_line}\n', 1, 42)


@pytest.mark.parametrize(
    ("last_line", "kind", "message"),
    [
        ("nucdet.errors.InputError: w.pth: damaged: cut short", InputError, "w.pth: damaged: cut"),
        ("OSError: [Errno 28] No space left on device: 'a.tif'", OSError, "No space left on dev"),
        ("PermissionError: [Errno 13] Permission denied: 'a'", PermissionError, "denied: 'a'"),
        ("ValueError: a bug", ProcessRaisedException, "a bug"),
        ("KeyError: 'OSError: a bug'", ProcessRaisedException, "a bug"),
    ],
)
def test_mistakes_met_by_another_process_keep_their_words(last_line, kind, message):
    error = _own_error(raised(last_line))
    assert type(error) is kind
    assert message in str(error)


def test_a_full_disk_met_by_another_process_has_the_same_line(capsys):
    def main():
        raise _own_error(raised("OSError: [Errno 28] No space left on device: 'a.tif'"))

    with pytest.raises(SystemExit, match="2"):
        run_tool(main)
    line = "error: a.tif: No space left on device; free some, or write to another disk\n"
    assert capsys.readouterr().err == line


_TWO_PROCESSES = """
import argparse, atexit, os

def work(folder):
    from detectron2.utils import comm
    comm.all_gather({"rank": comm.get_rank()})
    file = os.path.join(folder, str(comm.get_rank()))
    atexit.register(lambda: open(file, "w").write("\\n".join(threads())))

def threads():
    tasks = "/proc/self/task"
    return [open(f"{tasks}/{task}/comm").read().strip() for task in os.listdir(tasks)]

if __name__ == "__main__":
    import sys
    from nucdet.processes import run_processes
    devices = argparse.Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto")
    run_processes(work, devices, sys.argv[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the threads")
def test_no_thread_of_the_communication_is_left_when_a_process_ends(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(_TWO_PROCESSES)
    (tmp_path / "threads").mkdir()
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path / "threads"], check=True)
    left = {path.name: path.read_text().split("\n") for path in (tmp_path / "threads").iterdir()}
    assert sorted(left) == ["0", "1"]
    assert not [name for names in left.values() for name in names if "gloo" in name]
