"""What all test files share: threads, and the real data where they are there."""

from __future__ import annotations

import os
import signal

# Tiny tensors on busy cores run several times slower with a thread per core; set before torch is imported, and
# inherited by the kernels and processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C. Some press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Iterator
from pathlib import Path

import pytest
from where import SHARED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real ECGs beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def linted() -> set[tuple[Path, int]]:
    """The pages that have been looked at, and when they were written."""
    return set()


@pytest.fixture(scope="module", autouse=True)
def every_page_is_sound(tmp_path_factory: pytest.TempPathFactory, linted: set[tuple[Path, int]]) -> Iterator[None]:
    """Every report and list of runs that the tests of a file make has to stand before `ecglib.lint`."""
    yield
    from ecglib import lint

    written = {(path, path.stat().st_mtime_ns) for path in tmp_path_factory.getbasetemp().rglob("*.html")}
    for path, _ in written - linted:
        html = path.read_text(encoding="utf-8", errors="replace")
        if 'class="skip"' in html:  # made by our templates, not by a test itself
            faults = lint.page(html, report=path.name == "report.html")
            assert faults == [], f"{path.relative_to(tmp_path_factory.getbasetemp())}: {faults}"
    linted |= written
