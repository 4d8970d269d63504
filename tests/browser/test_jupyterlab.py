"""`make lab`, driven as a reader does it: open a notebook, run all of it, look at a figure."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from where import REPO

SMALL = {"records": "120", "show": "1", "draws": "50"}
BAR = """\
import sys, time, torch
from ecglib import training

class Batches(list):
    identity = "of this test"
    def set_epoch(self, epoch):
        time.sleep(1.5)

class Method(torch.nn.Linear):
    def training_step(self, batch):
        return {"loss": self(batch).square().sum()}
    def inference_module(self):
        return self

print("environment", sys.prefix)
settings = training.Settings(epochs=4, learning_rate=0.1, select="last")
done = training.fit(Method(1, 1), Batches([torch.ones(1, 1)]), None, settings=settings, progress="bar", name="4 epochs")
"""
CELLS = """() => {
    const cells = [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells];
    return cells.filter(each => each.cell_type === 'code').map(
        each => ({source: each.source, count: each.execution_count, outputs: each.outputs}));
}"""

OVER = """cells => cells.at(-1).count !== null
    || cells.some(each => each.outputs.some(output => output.output_type === 'error'))"""

SCROLL = """() => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const pictured = cell => JSON.stringify(cell.model.sharedModel.outputs ?? []).includes('image/png');
    return notebook.scrollToItem(notebook.widgets.findIndex(pictured), 'start');
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what `make lab` needs, because running saves; explore_cohort is small, and ends with a training."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(REPO / name, folder / name)
    (folder / "notebooks").mkdir()
    (folder / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    notebook = nbformat.read(REPO / "notebooks" / "explore_cohort.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    for name, value in SMALL.items():
        parameters.source, count = re.subn(rf"(?m)^({name}: \w+ = )\S+", rf"\g<1>{value}", parameters.source)
        assert count == 1, name
    notebook.cells.append(v4.new_code_cell(BAR))
    nbformat.write(notebook, folder / "notebooks" / "explore_cohort.ipynb")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the notebook in a JupyterLab that `make lab` started.

    The user's home has a kernel called python3, which is another interpreter's: it must not be the one that is taken.
    """
    home = tmp_path_factory.mktemp("home")
    other = home / ".local" / "share" / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    kernel = {"argv": ["false", "{connection_file}"], "display_name": "Another Python", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(kernel))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    options = [f"--port={port}", "--ip=127.0.0.1", "--no-browser", f"--IdentityProvider.token={token}"]
    options += ["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    options += ["--allow-root"] if os.geteuid() == 0 else []
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
    environment |= {"HOME": str(home), "JUPYTER_PREFER_ENV_PATH": "0"}
    log = home / "lab.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            ["make", "--old-file=.venv/.complete", "lab", f"LAB={' '.join(options)}"],
            cwd=folder, env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail(f"JupyterLab did not answer: {log.read_text()[-3000:]}")
        yield f"http://127.0.0.1:{port}/lab/tree/explore_cohort.ipynb?token={token}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.timeout(420)
def test_open_run_all_see_the_figure(browser, address):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # a kernel that is not up yet cannot be restarted
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
    page.locator(".jp-Dialog .jp-mod-accept").click()

    bar = "document.querySelector('.jupyter-widgets.widget-hprogress') !== null"
    over = f"({OVER})(({CELLS})())"
    page.wait_for_function(f"{bar} || {over}", timeout=240_000)
    assert page.evaluate(f"{bar} && !({over})"), "there is no bar while a model is trained"
    page.wait_for_function(over, timeout=60_000)

    cells = [cell for cell in page.evaluate(CELLS) if cell["source"].strip()]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    printed = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
    environment = re.search(r"^environment (.+)$", printed, re.MULTILINE)[1]
    assert os.path.samefile(environment, sys.prefix), "the kernel is another environment's"
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs[:-1])

    page.evaluate(SCROLL)  # JupyterLab draws only what is near the window
    figure = page.locator(".jp-OutputArea-output img").first
    figure.wait_for()
    figure.scroll_into_view_if_needed()
    assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    assert figure.bounding_box()["width"] > 400
    page.close()
