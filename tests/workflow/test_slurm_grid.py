"""A grid on a Slurm of two nodes: a job killed, a node drained, and yet complete; and the Slurm goes with its test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_cluster
import toy_grid

RUNS = 3
FAST = ["--latency-wait", "60", "--slurm-init-seconds-before-status-checks", "2", "--slurm-status-command", "squeue"]
PARTS = {"slurmctld", "slurmd", "slurmstepd", "sleep"}
WHY_NOT = slurm_cluster.missing()
pytestmark = [pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or ""), pytest.mark.timeout(3000)]


@pytest.fixture(scope="module", autouse=True)
def it_comes_up(tmp_path_factory):
    """What a machine forbids (a container without /proc, say) is no fault of the grids; ECG_SLURM=1 makes it one."""
    try:
        with slurm_cluster.running(tmp_path_factory.mktemp("slurm") / "first"):
            pass
    except slurm_cluster.NotHere as error:
        if os.environ.get("ECG_SLURM") == "1":
            raise
        pytest.skip(str(error))


def test_a_grid_on_two_nodes_ends_complete_though_a_job_is_killed_and_a_node_drained(tmp_path):
    root = toy_grid.make(tmp_path / "repository")
    seeds = list(range(RUNS))
    limits = "limits: {smoke: {minutes: 45}}\n"  # the runs wait for the test, and the test for a loaded machine
    path = toy_grid.grid(root, f"seeds: {seeds}\nparameters:\n  waits_for: [go]\n{limits}")
    said = tmp_path / "said.txt"
    with slurm_cluster.running(tmp_path / "slurm") as slurm:
        slurm.logs += [said, root / ".snakemake/slurm_logs", root / "reports/grids"]
        command = toy_grid.words(path.relative_to(root), "--profile", "workflow/profiles/slurm", *FAST, cores=None)
        env = toy_grid.environment(root) | slurm.environment
        with open(said, "w") as file:
            process = subprocess.Popen(command, cwd=root, env=env, stdout=file, stderr=file, start_new_session=True)

        def both_at_work():
            at = {node: number for number, (state, node) in slurm.jobs().items() if state == "RUNNING"}
            return at if len(at) == 2 and len(training(root)) == 2 else None

        at = slurm_cluster.wait_for(both_at_work, "run on each of the two nodes", [process])
        slurm.call("scancel", "--signal=KILL", "--full", str(at["n1"]))
        slurm.call("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
        slurm_cluster.wait_for(lambda: slurm.nodes()["n2"] == "draining", "draining node", [process])
        slurm_cluster.wait_for(lambda: slurm.jobs()[at["n1"]][0] != "RUNNING", "end of the killed job", [process])
        (root / "go").touch()
        slurm_cluster.wait_for(lambda: process.poll() is not None, "end of the grid", [])

        text = said.read_text()
        assert process.returncode == 0
        assert f"g: {RUNS} of {RUNS} runs done, 0 running, 0 failed, 0 to come; the comparison is done" in text
        assert re.search(r"g: \d of 3 runs done, [12] running, ", text)  # a person could follow it
        jobs = slurm.jobs()
        assert jobs[at["n1"]][0] in ("FAILED", "CANCELLED")
        assert jobs[at["n2"]] == ("COMPLETED", "n2")  # a drained node ends what it has begun
        others = [job for number, job in jobs.items() if number not in at.values()]
        assert others == [("COMPLETED", "n1")] * RUNS  # the third run, the killed one again, the comparison
        assert slurm.nodes()["n2"] == "drained"
    assert slurm_cluster.processes_of(slurm.folder) == []
    records = [json.loads(path.read_text()) for path in sorted((root / "reports/toy").glob("*/run.json"))]
    assert [(r["parameters"]["seed"]["value"], r["status"]) for r in records] == [(seed, "complete") for seed in seeds]
    assert "read 3 runs" in (root / "reports/compare_runs/grid-g/executed.ipynb").read_text()
    assert (root / "reports/index.html").is_file()


def training(root: Path) -> list[Path]:
    """The runs whose kernel has come to its last cell."""
    found = (root / "reports/toy").glob("*/started.json")
    return [path for path in found if json.loads(path.read_text()).get("cell", {}).get("number") == 3]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_nothing_of_the_cluster_outlives_a_test_that_is_stopped(tmp_path, how):
    folder = tmp_path / "slurm"
    script = tmp_path / "stopped.py"
    script.write_text(
        "import pathlib, subprocess, sys, time\n"
        f"sys.path.insert(0, {str(Path(slurm_cluster.__file__).parent)!r})\n"
        "import slurm_cluster\n"
        f"with slurm_cluster.running(pathlib.Path({str(folder)!r})) as slurm:\n"
        "    slurm.call('sbatch', '--output=/dev/null', '--wrap=sleep 1000')\n"
        "    slurm_cluster.wait_for(lambda: slurm.jobs()[1][0] == 'RUNNING', 'job', [])\n"
        "    print('up', flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with open(tmp_path / "said.txt", "w") as said:
        process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=said, text=True)
    try:
        assert process.stdout.readline() == "up\n", (tmp_path / "said.txt").read_text()
        slurm_cluster.wait_for(lambda: set(names(folder)) >= PARTS, "process of each kind", [process])
        process.send_signal(how)
        process.wait(600)
        slurm_cluster.wait_for(lambda: not names(folder), "end of it all", [])
    finally:
        process.kill()  # the keeper does the rest


def names(folder: Path) -> list[str]:
    """Of the cluster's processes; a job's step has its number behind the name."""
    found = []
    for pid in slurm_cluster.processes_of(folder):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/comm").read_text().strip().partition(":")[0])
    return found
