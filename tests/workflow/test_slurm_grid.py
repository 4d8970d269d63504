"""A grid on a Slurm of two nodes: a job killed, a node drained, and yet complete."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import slurm_cluster
import toy_grid

RUNS = 3
FAST = ["--jobs", "4", "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "2"]
FAST += ["--slurm-status-command", "squeue"]


@pytest.fixture
def slurm(tmp_path: Path):
    """The cluster; asked for by ECG_SLURM=1, since its daemons take some minutes of a loaded machine."""
    if os.environ.get("ECG_SLURM") != "1":
        pytest.skip("set ECG_SLURM=1 to start a throw-away Slurm of two nodes")
    try:
        with slurm_cluster.running(tmp_path / "slurm") as cluster:
            yield cluster
    except slurm_cluster.Missing as missing:
        pytest.fail(str(missing))
    assert slurm_cluster.steps(tmp_path / "slurm") == []


def wait_for(what, process: subprocess.Popen, limit_s: float = 400.0):
    """The first true result of `what`, asked while the grid runs."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit and process.poll() is None:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"did not come about; the grid ended with {process.poll()}")


@pytest.mark.timeout(1200)
def test_a_grid_on_two_nodes_ends_complete_though_a_job_is_killed_and_a_node_drained(slurm, tmp_path):
    root = toy_grid.make(tmp_path / "repository")
    seeds = list(range(RUNS))
    path = toy_grid.grid(root, f"seeds: {seeds}\nparameters:\n  nap_s: [2.0]\n")
    command = toy_grid.words(path.relative_to(root), "--profile", "workflow/profiles/slurm", *FAST)
    command[command.index("--cores") : command.index("--cores") + 2] = []
    env = toy_grid.environment(root) | {"PATH": f"{slurm.clients}:{os.environ['PATH']}"}
    said = tmp_path / "said.txt"
    with open(said, "w") as file:
        process = subprocess.Popen(command, cwd=root, env=env, stdout=file, stderr=file)
    try:

        def both_at_work():
            at = {node: number for number, state, node in slurm.jobs() if state == "RUNNING"}
            return at if len(at) == 2 and list((root / "reports/toy").glob("*/started.json")) else None

        at = wait_for(both_at_work, process)
        slurm.call("scancel", "--signal=KILL", "--full", at["n1"])
        slurm.call("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
        assert process.wait(700) == 0, said.read_text()[-4000:]
    finally:
        if process.poll() is None:
            process.kill()

    text = said.read_text()
    assert f"g: {RUNS} of {RUNS} runs done, 0 running, 0 failed, 0 to come; the comparison is done" in text
    assert re.search(r"g: \d of 3 runs done, [12] running, ", text)  # a person could follow it
    jobs = slurm.jobs()
    assert {node for _, _, node in jobs} == {"n1", "n2"}
    states = {number: state for number, state, _ in jobs}
    assert states[at["n1"]] != "COMPLETED"
    assert len(jobs) >= RUNS + 2  # one was tried again, and the comparison
    later = [node for number, _, node in jobs if int(number) > max(map(int, at.values()))]
    assert later
    assert set(later) == {"n1"}  # the drained node got none
    for seed in seeds:
        record = json.loads((root / f"reports/toy/smoke+nap_s=2.0+seed={seed}" / "run.json").read_text())
        assert record["status"] == "complete"
    assert "read 3 runs" in (root / "reports/compare_runs/grid-g/executed.ipynb").read_text()
    assert (root / "reports/index.html").is_file()
