"""Without the preloaded process: a kernel as JupyterLab has it, stopped by Ctrl-C; and the command itself, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import toy
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from test_fault_matrix import SAME, trained

from ecglib import results

HERE = Path(__file__).parent
ARM = "import sys; sys.path.append({here!r}); import sabotage; sabotage.arm('kernel', {place!r}, {fault!r}, {root!r})"
INTERRUPTED = [
    "building a cohort, in the middle",
    "building a cohort, at its end",
    "training, in an epoch",
    "training, writing a checkpoint",
    "evaluating",
    "writing predictions",
    "saving a model",
]


@pytest.fixture
def kernel() -> Iterator[BlockingKernelClient]:
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(env=os.environ | {"PYTHONHASHSEED": "0"})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=240)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def execute(kernel: BlockingKernelClient, code: str) -> tuple[str, str]:
    """(name of the error or "", what was printed) of a cell."""
    printed = []

    def output(message: dict) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = kernel.execute_interactive(code, timeout=300, output_hook=output)["content"]
    return reply.get("ename", ""), "".join(printed)


def run_all(kernel: BlockingKernelClient, root: Path) -> tuple[str, str]:
    """As "Run all cells" does: up to the first error."""
    said = ""
    for cell in nbformat.read(root / "notebooks/toy.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            error, printed = execute(kernel, cell.source)
            said += printed
            if error:
                return error, said
    return "", said


def test_ctrl_c_in_jupyterlab_again_and_again(kernel: BlockingKernelClient, tmp_path: Path) -> None:
    root = toy.repository(tmp_path / "root")
    assert execute(kernel, f"import os; os.chdir({str(root / 'notebooks')!r})") == ("", "")
    said = ""
    for place in INTERRUPTED:
        where = {"here": str(HERE), "place": place, "fault": "the kernel is interrupted", "root": str(root)}
        assert execute(kernel, ARM.format(**where)) == ("", "")
        error, printed = run_all(kernel, root)
        assert error == "KeyboardInterrupt", place
        said += printed
    error, printed = run_all(kernel, root)
    assert error == ""
    assert "b: going on from the checkpoint of epoch 3" in printed
    assert trained(said + printed) == toy.EPOCHS * len(toy.MODELS)  # none again whose checkpoint was there
    out = root / "reports/toy/manual"
    assert not (out / "checkpoints").exists()
    assert len(os.listdir(root / "cache")) == 1

    # the same by the command, killed while it writes a checkpoint, and once more
    log = tmp_path / "log"
    command = [sys.executable, "-m", "ecglib.run", "toy", "--out", "reports/toy/b"]
    site = tmp_path / "site"
    site.mkdir()
    armed = ARM.format(here=str(HERE), place="training, writing a checkpoint", fault="the node is lost", root=str(root))
    (site / "sitecustomize.py").write_text(f"import sys\nif 'ipykernel_launcher' in sys.orig_argv:\n    {armed}\n")
    for environment, status in (({"PYTHONPATH": str(site)}, -signal.SIGKILL), ({}, 0)):
        with open(log, "w") as file:
            done = subprocess.run(command, cwd=root, stderr=file, env=os.environ | environment, timeout=500)
        assert done.returncode == status, log.read_text()
    assert trained(log.read_text()) == 2
    assert "going on from the checkpoints" in log.read_text()
    assert "b: going on from the checkpoint of epoch 1" in log.read_text()
    assert results.read(root / "reports/toy/b").status == "complete"
    for name in SAME:
        assert (root / "reports/toy/b" / name).read_bytes() == (out / name).read_bytes(), name
