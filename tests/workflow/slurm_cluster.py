"""A throw-away Slurm of two nodes on this machine, from installed packages: started for a test, gone with it.

Needs Debian's slurmctld, slurmd and slurm-client, whose own services need not run and are not touched, and root. No
munged: jobs are all of one user and every port is on the loopback, which is looked at before the cluster is used.
Configuration, spool and state lie in one folder. All processes of the cluster and of its jobs carry that folder in
their environment; that is how they are found and ended, also by a keeper when the test's own process is killed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
MARK = "ECG_THROW_AWAY_SLURM"
DAEMONS = ("slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
# Slurm's own limits are for machines that are seldom late: a batch job that has not started within 10 s is lost, a node
# on which a job did not end within 60 s is drained. Here a core may be shared by many, so they are minutes.
CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
BatchStartTimeout=600
KillWait=2
MessageTimeout=100
MinJobAge=43200
ReturnToService=2
SchedulerParameters=sched_interval=1
SlurmdTimeout=1200
TCPTimeout=60
UnkillableStepTimeout=600
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here, as a sentence; None where it can be started."""
    if sys.platform != "linux" or os.getuid():
        return "only root of a Linux machine may start Slurm's daemons"
    absent = [name for name in (*DAEMONS, *CLIENTS) if not shutil.which(name, path=PATH)]
    if absent:
        return f"{', '.join(absent)} not installed: Debian's packages slurmctld, slurmd and slurm-client have them"
    return None


class NotHere(RuntimeError):
    """The daemons are installed, and do not come up on this machine."""


class Slurm:
    """The cluster that `running` has started; `environment` is what its jobs and those who submit them need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = [folder / "log"]  # files and folders; a test adds its own
        self.environment = {MARK: str(folder), "PATH": f"{folder / 'clients'}:{PATH}"}

    def call(self, *words: str, limit_s: float = 300.0) -> str:
        """What a Slurm command prints; asked again while the daemons are too busy to answer."""
        limit = time.monotonic() + limit_s
        while True:
            try:
                command = [self.folder / "clients" / words[0], *words[1:]]
                env = {**os.environ, **self.environment}
                done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit_s)
                if not done.returncode:
                    return done.stdout
                why = done.stderr.strip()
            except subprocess.TimeoutExpired as expired:
                why = str(expired)
            if time.monotonic() > limit or "nvalid" in why:  # such as a job that there is not
                raise RuntimeError(f"{' '.join(words)}: {why}")
            time.sleep(0.5)

    def jobs(self) -> dict[int, tuple[str, str]]:
        """Number -> (state, node) of every job, ended ones too."""
        lines = self.call("squeue", "--all", "--noheader", "--states=all", "--format=%i|%T|%N").splitlines()
        return {int(number): (state, node) for number, state, node in (line.split("|") for line in lines)}

    def nodes(self) -> dict[str, str]:
        """Name -> state, such as "idle" or "draining"."""
        lines = self.call("sinfo", "-N", "--noheader", "--format=%N %T").splitlines()
        return {name: state for name, state in (line.split() for line in lines)}

    def diagnosis(self) -> str:
        """What a person needs to see of a failure: load, queue, nodes, and how every log ends."""
        parts = [f"load average {os.getloadavg()}"]
        for words in (("squeue", "--all", "--states=all"), ("sinfo", "-N", "--long")):
            with contextlib.suppress(RuntimeError):
                parts.append(f"$ {' '.join(words)}\n{self.call(*words, limit_s=5)}")
        files = [file for place in self.logs for file in ([place] if place.is_file() else sorted(place.rglob("*.*")))]
        said = [(file, file.read_text(errors="replace")[-3000:]) for file in files if file.is_file()]
        return "\n".join([*parts, *(f"== {file}\n{text}" for file, text in said if text)])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """Starts it, and ends every process of it and of its jobs; also after an error, Ctrl-C, or kill -9 here."""
    for name in ("log", "state", "spool/n1", "spool/n2", "clients"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    host = platform.node().partition(".")[0]
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, ports=_free_ports(3)))
    for name in CLIENTS:  # Snakemake's plugin takes SLURM_* out of a job's environment: so each client brings its own
        script = folder / "clients" / name
        script.write_text(f"#!/bin/sh\nSLURM_CONF='{configuration}' exec '{shutil.which(name, path=PATH)}' \"$@\"\n")
        script.chmod(0o755)
    slurm, daemons = Slurm(folder), []
    keeper = subprocess.Popen([sys.executable, __file__, folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        daemons.append(_daemon(slurm, "slurmctld", "-D", "-f", str(configuration)))
        for node in ("n1", "n2"):
            daemons.append(_daemon(slurm, "slurmd", "-D", "-f", str(configuration), "-N", node))
        try:
            try:
                wait_for(lambda: set(slurm.nodes().values()) == {"idle"}, "two idle nodes", daemons, limit_s=300)
            except (AssertionError, RuntimeError) as error:
                raise NotHere(f"Slurm's daemons do not come up here: {error}\n{slurm.diagnosis()}") from error
            _on_loopback_only([daemon.pid for daemon in daemons])
            yield slurm
        except BaseException as error:
            error.add_note(slurm.diagnosis())
            raise
    finally:
        end(folder)
        keeper.communicate()
        for daemon in daemons:
            daemon.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _daemon(slurm: Slurm, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """In the foreground, as a child of ours in a session of its own, where the terminal's Ctrl-C does not reach it."""
    with open(slurm.folder / "log" / f"{name}-{arguments[-1].rpartition('/')[2]}.out", "wb") as log:
        return subprocess.Popen(
            [shutil.which(name, path=PATH) or name, *arguments],
            env={**os.environ, **slurm.environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_for(
    what: Callable[[], T], called: str, processes: list[subprocess.Popen[bytes]], limit_s: float = 1200.0
) -> T:
    """The first true result of `what`; AssertionError, with `called`, at the limit or when one of `processes` ends."""
    limit = time.monotonic() + limit_s
    while not (found := what()):
        ended = [process.args for process in processes if process.poll() is not None]
        if ended or time.monotonic() > limit:
            raise AssertionError(f"no {called}: {f'{ended[0]} has ended' if ended else f'waited for {limit_s:.0f} s'}")
        time.sleep(0.3)
    return found


def _on_loopback_only(pids: list[int]) -> None:
    """Raises RuntimeError unless these processes listen, all of them at 127.0.0.1."""
    inodes = set()
    for handle in (handle for pid in pids for handle in Path(f"/proc/{pid}/fd").iterdir()):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(handle).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    found = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
    if len(found) < 3 or not all(address.startswith("0100007F:") for address in found):
        raise RuntimeError(f"Slurm listens elsewhere than on 127.0.0.1: {found}")


def processes_of(folder: Path) -> list[int]:
    """All that carry this cluster's mark in their environment: daemons, jobs and who submits them; and the job steps.

    A step (slurmstepd) writes its title over its environment; it is known by the files that it holds open.
    """
    found, mark = [], f"{MARK}={folder}\0".encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdecimal():
                continue
            step = (entry / "comm").read_text().startswith("slurmstepd")
            if mark in (entry / "environ").read_bytes() or (step and _holds(entry, folder)):
                found.append(int(entry.name))
    return found


def _holds(entry: Path, folder: Path) -> bool:
    return any(os.readlink(handle).startswith(f"{folder}/") for handle in (entry / "fd").iterdir())


def end(folder: Path) -> None:
    """Kills them until none is left: nothing of a throw-away cluster is worth a farewell."""
    while found := processes_of(folder):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":  # the keeper: its input ends with the process that has started it
    sys.stdin.read()
    end(Path(sys.argv[1]))
