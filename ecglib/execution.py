"""Executing a notebook by papermill, and judging by our own rules how it went.

papermill marks every cell completed after a dead kernel or a time-out, and ends with success when a cell calls
``sys.exit(0)``. Here a notebook is complete when every code cell has an execution count, none holds an error, and the
kernel was alive at the end.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["complete", "failed", "interrupted"]
# Both have to be in the environment before the kernel starts: the interpreter and cuBLAS read them once.
DETERMINISM = {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
AUTOSAVE_S = 60.0


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to stop; `args[0]` is its number. (asyncio lets KeyboardInterrupts pass at once.)"""


@dataclass
class Outcome:
    """How an execution ended; `cell` is the index of the cell that ended it, `bad_input` says whose fault it was."""

    notebook: Any
    status: Status = "complete"
    reason: str | None = None
    cell: int | None = None
    bad_input: bool = False
    signal: int | None = None


class Progress:
    """What a person at the terminal sees: headings, the kernel's own lines, and a line per cell with its time."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._started = time.monotonic()
        self._line_open = False

    def cell_started(self, heading: str | None) -> None:
        self._started = time.monotonic()
        if heading:
            self._write(f"{heading}\n")

    def cell_ended(self, number: int, total: int) -> None:
        newline = "\n" if self._line_open else ""
        self._line_open = False
        self._write(f"{newline}  [{number:>{len(str(total))}}/{total}] {time.monotonic() - self._started:7.1f} s\n")

    # the two methods of a text file that papermill's client calls with the kernel's output
    def write(self, text: str) -> None:
        for line in text.splitlines(keepends=True):
            self._write(line if self._line_open else f"    {line}")
            self._line_open = not line.endswith("\n")

    def flush(self) -> None:
        sys.stderr.flush()


def execute(
    source: Path,
    parameters: Mapping[str, Any],
    *,
    root: Path,
    progress: Progress,
    save: Callable[[Any], None],
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Outcome:
    """Runs the notebook `source` in a kernel of its own whose folder is `root`.

    Args:
        parameters: what is injected behind the parameters cell.
        save: called with the notebook now and then while it runs (never more than a small part of the time).
        environment: added to the kernel's environment.
        timeout: seconds for the whole notebook, from when its kernel is up.
    """
    import papermill

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would say is judged and said below
    watch = _Watch(progress, save, timeout)
    outcome = Outcome(None)
    decided = False  # whether what ended it is known, whatever the cells say
    try:
        with _runtime_folder() as runtime:
            papermill.execute_notebook(
                str(source).replace("{", "{{").replace("}", "}}"),  # papermill formats the path
                None,
                dict(parameters),
                kernel_name="python3",
                language="python",
                cwd=root,
                progress_bar=False,
                request_save_on_cell_execute=False,  # after every cell is quadratic in big outputs; `watch` saves
                autosave_cell_every=0,
                stdout_file=progress,
                stderr_file=progress,
                coalesce_streams=True,
                iopub_timeout=60,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # it complains of being stopped
                kernel_manager_class=_kernel_manager(runtime, environment or {}),
                timeout_func=watch.remaining,
                on_notebook_start=watch.notebook_started,
                on_cell_execute=watch.cell_started,
                on_cell_executed=watch.cell_ended,
            )
    except Interrupted as interruption:
        outcome.status, outcome.signal, decided = "interrupted", interruption.args[0], True
        outcome.reason = f"the run was stopped by {signal.Signals(outcome.signal).name}"
    except Exception as error:  # of any kind: whatever papermill raises, the notebook did not end well
        outcome.status, outcome.reason = "failed", _reason(error, timeout)
        decided = isinstance(error, TimeoutError)  # stopping the kernel puts a KeyboardInterrupt into the cell
    return _judge(outcome, watch, decided)


class _Watch:
    """nbclient's hooks: keeps hold of the notebook, tells the progress, saves at times, keeps the deadline."""

    def __init__(self, progress: Progress, save: Callable[[Any], None], timeout: float | None) -> None:
        self.notebook: Any = None
        self.running: int | None = None
        self._progress, self._save = progress, save
        self._timeout = timeout
        self._deadline: float | None = None
        self._next_save = time.monotonic() + AUTOSAVE_S
        self._headings: dict[int, str | None] = {}

    def notebook_started(self, notebook: Any) -> None:
        self.notebook = notebook
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self._headings = headings_before_code(notebook.cells)

    def cell_started(self, cell: Any, cell_index: int) -> None:
        self.running = cell_index
        self._progress.cell_started(self._headings.get(cell_index))

    def cell_ended(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        numbers = list(self._headings)
        self._progress.cell_ended(numbers.index(cell_index) + 1, len(numbers))
        self.running = None
        if time.monotonic() >= self._next_save:
            started = time.monotonic()
            self._save(self.notebook)
            cost = time.monotonic() - started
            self._next_save = time.monotonic() + max(AUTOSAVE_S, 50 * cost)  # so that saving takes 2 % at most

    def remaining(self, cell: Any) -> float | None:
        """Seconds left, for nbclient's `timeout_func`; a spent deadline is not None or 0, which mean "no limit"."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.1)


def headings_before_code(cells: list[Any]) -> dict[int, str | None]:
    """Index of each code cell -> the last heading above it where it is the first below that, else None."""
    found: dict[int, str | None] = {}
    heading = None
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            lines = [line for line in cell["source"].splitlines() if line.startswith("#")]
            heading = lines[-1].lstrip("# ").strip() if lines else heading
        elif cell["cell_type"] == "code" and cell["source"].strip():
            found[index], heading = heading, None
    return found


def _kernel_manager(runtime: Path, environment: Mapping[str, str]) -> type:
    """A kernel manager for this very interpreter that talks through files in `runtime` instead of TCP ports.

    Parallel starts race for free TCP ports, and everyone on the machine can knock at them. The kernel spec is not
    looked up: one in the user's home may name another interpreter.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    added = {**DETERMINISM, "IPYTHONDIR": str(runtime / "ipython"), **environment}  # no start-up file of the user's

    class KernelManager(AsyncKernelManager):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if sys.platform != "win32":  # which has no such sockets
                self.transport = "ipc"
                self.connection_file = str(runtime / "kernel.json")

        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3 (ipykernel)", language="python")

        async def start_kernel(self, **kwargs: Any) -> None:
            kwargs["env"] = {**os.environ, **added}
            await super().start_kernel(**kwargs)

    return KernelManager


@contextmanager
def _runtime_folder() -> Iterator[Path]:
    """A private folder with a short name: the address of a Unix socket holds 107 characters at most, TMPDIR may not."""
    base = "/tmp" if os.access("/tmp", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ecg-", dir=base, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _reason(error: Exception, timeout: float | None) -> str:
    name = type(error).__name__
    if name == "CellTimeoutError":
        return f"the notebook took longer than {timeout:g} s (--timeout)"
    if name == "DeadKernelError":
        return "the kernel died (a crash, or the system took it down for want of memory)"
    if name == "PapermillExecutionError":
        return f"{error.ename}: {error.evalue}".rstrip(": ")  # type: ignore[attr-defined]
    return f"{name}: {error}"


def _judge(outcome: Outcome, watch: _Watch, decided: bool) -> Outcome:
    """Looks at the cells themselves, whatever papermill made of them; for errors unless all is `decided`."""
    outcome.notebook = notebook = watch.notebook
    if notebook is None:  # no kernel came up
        return outcome
    notebook.cells = [c for c in notebook.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", ())]
    code = [(i, c) for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]
    for index, cell in code:
        error = next((o for o in cell.outputs if o.output_type == "error"), None)
        if error is not None and not decided:
            return _failed(outcome, index, error)
        if cell.execution_count is None or cell.metadata.get("papermill", {}).get("exception"):
            break
    else:
        if outcome.status == "complete":
            return outcome
        index = code[-1][0] if code else None  # the kernel was lost, or the signal came, behind the last cell
    outcome.cell = index if watch.running is None else watch.running
    if outcome.status == "complete" or outcome.reason == "CellExecutionError":  # a bad magic fails without a word
        outcome.status, outcome.reason = "failed", "the cell failed or did not run, without an error message"
    return outcome


def _failed(outcome: Outcome, index: int, error: Any) -> Outcome:
    outcome.status, outcome.cell, outcome.bad_input = "failed", index, error.ename == "InputError"
    outcome.reason = error.evalue if outcome.bad_input else f"{error.ename}: {error.evalue}".rstrip(": ")
    if error.ename == "SystemExit":
        outcome.reason = "the notebook left early by sys.exit"
    return outcome
