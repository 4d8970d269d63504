"""A throw-away Slurm of two nodes on this machine, from Debian's packages: nothing is installed, it ends with its test.

Daemons, spool and state lie in one folder; every port is bound to the loopback, which is looked at before it is used.
Installed slurmctld and slurmd are taken; else the packages are downloaded (3.4 MB) and unpacked into that folder.
"""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("libhwloc15", "liblua5.1-0", "libmunge2", "munge", "slurm-wlm-basic-plugins")
PACKAGES += ("slurm-client", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo", "sacct", "sacctmgr", "sshare")
CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=43200
SchedulerParameters=sched_interval=1
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Missing(Exception):
    """Why there is no Slurm to be had here."""


class Slurm:
    """The cluster that `running` has started; `clients` goes in front of PATH."""

    def __init__(self, folder: Path, clients: Path) -> None:
        self.folder, self.clients = folder, clients

    def call(self, *words: str) -> str:
        """What a Slurm command prints."""
        done = subprocess.run([self.clients / words[0], *words[1:]], capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def jobs(self) -> list[tuple[str, str, str]]:
        """(number, state, node) of every job, ended ones too."""
        lines = self.call("squeue", "--all", "--noheader", "--states=all", "--format=%i|%T|%N").splitlines()
        return [tuple(line.split("|")) for line in lines]  # type: ignore[misc]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """Starts it, and stops every process of it. Raises Missing where there is none."""
    for name in ("log", "state", "spool/n1", "spool/n2", "bin", "clients"):
        (folder / name).mkdir(parents=True)
    tools = _tools(folder)
    plugins = next(iter(sorted(tools["slurmctld"].resolve().parents[1].glob("lib/*/slurm-wlm"))), None)
    if plugins is None:
        raise Missing("slurmctld is there, its plugins are not")
    libraries = ":".join(sorted({str(p.parent) for p in (folder / "root").rglob("*.so*")}))
    env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "LD_LIBRARY_PATH": libraries}
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=platform.node().partition(".")[0],
            user=pwd.getpwuid(os.getuid()).pw_name,
            folder=folder,
            plugins=plugins,
            ports=_free_ports(3),
        )
    )
    for name in CLIENTS:  # Snakemake's plugin takes SLURM_* out of a job's environment: so each client brings its own
        script = folder / "clients" / name
        script.write_text(
            f"#!/bin/sh\nexport SLURM_CONF='{env['SLURM_CONF']}' LD_LIBRARY_PATH='{libraries}'\n"
            f"exec '{tools['sbatch'].with_name(name)}' \"$@\"\n"
        )
        script.chmod(0o755)
    daemons: list[subprocess.Popen[bytes]] = []
    slurm = Slurm(folder, folder / "clients")
    try:
        daemons.append(_daemon(folder, env, "slurmctld", "-c", "-D"))
        for node in ("n1", "n2"):
            daemons.append(_daemon(folder, env, "slurmd", "-D", "-N", node, "-d", str(folder / "bin" / "slurmstepd")))
        _wait_until_idle(slurm, daemons)
        _on_loopback_only([daemon.pid for daemon in daemons])
        yield slurm
    finally:
        with contextlib.suppress(Exception):
            slurm.call("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name, "--signal=KILL", "--full")
            slurm.call("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name)
        _stop(daemons, folder)


def _tools(folder: Path) -> dict[str, Path]:
    """The programs, of this machine or unpacked below `folder`."""
    names = ("slurmctld", "slurmd", "slurmstepd", "sbatch")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    found = {name: shutil.which(name, path=path) for name in names}
    if all(found.values()):
        tools = {name: Path(where) for name, where in found.items() if where}
    else:
        _unpack(folder)
        sbin, bin_ = folder / "root/usr/sbin", folder / "root/usr/bin"
        tools = {name: sbin / f"{name}-wlm" for name in names[:3]} | {"sbatch": bin_ / "sbatch"}
        if missing := [str(tool) for tool in tools.values() if not tool.exists()]:
            raise Missing(f"the packages lack {missing[0]}")
    for name in names[:3]:
        (folder / "bin" / name).symlink_to(tools[name])
    return tools


def _unpack(folder: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise Missing("slurmctld and slurmd are not installed, and this is no Debian to take their packages from")
    debs = folder / "debs"
    debs.mkdir()
    for attempt in ([], ["update"]):
        if attempt and (os.getuid() or subprocess.run(["apt-get", "-qq", *attempt], timeout=120).returncode):
            break
        done = subprocess.run(
            ["apt-get", "-qq", "download", *PACKAGES], cwd=debs, capture_output=True, text=True, timeout=120
        )
        if done.returncode == 0:
            for deb in debs.glob("*.deb"):
                subprocess.run(["dpkg", "-x", deb, folder / "root"], check=True, timeout=60)
            return
    raise Missing(f"Slurm's packages cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _daemon(folder: Path, env: dict[str, str], name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """In the foreground, as a child of ours in a session of its own."""
    with open(folder / "log" / f"{name}{''.join(arguments[2:3])}.out", "wb") as log:
        return subprocess.Popen(
            [folder / "bin" / name, *arguments], env=env, stdout=log, stderr=log, start_new_session=True
        )


def _wait_until_idle(slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            if slurm.call("sinfo", "-N", "--noheader", "--format=%T").split() == ["idle", "idle"]:
                return
        if any(daemon.poll() is not None for daemon in daemons):
            break
        time.sleep(0.2)
    said = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted((slurm.folder / "log").iterdir()))
    raise RuntimeError(f"the two nodes did not come up\n{said}")


def listening(pids: list[int]) -> list[str]:
    """The addresses, as hexadecimal digits and port, at which these processes listen."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(handle).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


def _on_loopback_only(pids: list[int]) -> None:
    found = listening(pids)
    if len(found) < 3 or not all(address.startswith("0100007F:") for address in found):
        raise RuntimeError(f"Slurm listens elsewhere than on 127.0.0.1: {found}")


def _stop(daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """slurmd first, so that jobs end; then what is left of job steps, known by the folder in their command."""
    for daemon in reversed(daemons):
        daemon.terminate()
    for daemon in daemons:
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    for pid in steps(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def steps(folder: Path) -> list[int]:
    """Processes whose environment or command names this cluster's folder, this one and its parents left out."""
    found, mark = [], f"{folder}/".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) not in (os.getpid(), os.getppid()):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if mark in command or (b"slurmstepd" in command and mark in (entry / "environ").read_bytes()):
                    found.append(int(entry.name))
    return found
