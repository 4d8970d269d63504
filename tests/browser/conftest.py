"""A real Chromium, reports of a tiny notebook that has every kind of output, and what a page does when it is opened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from ecglib.gallery import BROWSERS

PARAMETERS = """\
from typing import Literal

mode: Literal["ok", "error", "stop"] = "ok"  # how the run is to end
seed: int = 0  # of all that is drawn
a_parameter_with_a_long_name: list[str] = ["a value that is long", "and another that is longer than that"]  # none
out: str = "reports/every/manual"  # where the run leaves its results
"""
TABLES = """\
import os, signal, sys, time
from types import SimpleNamespace
import pandas as pd
from IPython.display import HTML, Markdown, display
from tqdm.auto import tqdm
from ecglib import figures, results
from ecglib.figures.style import figure, style

run = results.Run(out)
class Cohort(list):
    info = SimpleNamespace(name="synthetic", fingerprint="0123456789abcdef", licence="CC0", citation="https://doi.org/1")
run.data(Cohort("abc"), "all of it")
print("a long line " * 40)
plain = pd.DataFrame({"AUC": [0.91, 0.93], "F1": [0.5, 0.6]}, index=["teacher", "student"])
display(plain, plain.rename_axis("model"), plain.style.highlight_max(color="yellow").set_caption("Styled"))
cells = pd.MultiIndex.from_product([["AUC", "F1"], ["value", "low", "high"]])
rows = pd.MultiIndex.from_product([["teacher", "student"], [0, 1]], names=["model", "seed"])
display(pd.DataFrame(0.5, index=rows, columns=cells))
display(pd.DataFrame(0.5, index=rows, columns=cells.set_names(["metric", "part"])))
display(pd.DataFrame({f"column {k}": [f"{k} words that go on"] for k in range(12)}))
display(Markdown("### From an output\\n\\n- **one**\\n- two\\n\\n| a | b |\\n|---|---|\\n| 1 | x |"))
display(HTML("<p id=seed>Text</p>"), HTML("<p id=seed>Twice the same id</p>"))
"""
FIGURES = """\
with style():
    fig = figure(3)
    fig.subplots().plot([1, 3, 2])
figures.show(fig, alt="A line of three points that rises and falls.", caption="Alt text and caption differ.")
with style():
    fig = figure(2, width=4)
    fig.subplots().plot([1, 3, 2])
figures.show(fig, alt="The same line once more, without a caption of its own.")
"""
STREAMS = """\
print("short")
print("a line\\n" * 30)
print("a message", file=sys.stderr)
for _ in tqdm(range(3), desc="epochs"):
    time.sleep(0.01)
"""
END = """\
if mode == "error":
    raise RuntimeError("loss is NaN in a sentence that has_one_very_long_word_" + "x" * 90)
if mode == "stop":
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
"""
LAST = """\
row = dict(model="m", protocol="p", data="synthetic", split="test", metric="auc", seed=0, n=3)
run.metrics([{**row, "class": "macro", "value": 0.8, "low": 0.7, "high": 0.9}])
run.finish()
"""
PROSE = """\
## What was done

Some prose with `code`, **strong words** and [a link](https://doi.org/10.1016/x).

| part | the paper | here |
|---|---|---|
| a network | with words that go on for a while | and go on here as well |

```
python -m something
```

#### A heading two levels below

> Quoted.
"""
STATUS = {"ok": 0, "error": 1, "stop": 128 + 15}


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium: Debian's, Google's, or the one that playwright brings."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).is_file() else None
    if found is None:
        reason = (
            f"none of {', '.join(BROWSERS)} is installed, so no page can be opened; "
            "`apt-get install chromium` or `.venv/bin/python -m playwright install chromium` brings one"
        )
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless browser. Of the module, not the session: as long as it runs, no other test can use asyncio."""
    from playwright.sync_api import sync_playwright

    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # as containers need it
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=options)
        yield started
        started.close()


@dataclass
class Opened:
    """A page in the browser, and what it said and asked for since it was opened."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a file: ``opened(path, width=375, scheme="dark")``."""
    contexts = []

    def open_it(path: Path, *, width: int = 1200, scheme: str = "light", **more: Any) -> Opened:
        look = {"color_scheme": scheme, "reduced_motion": "reduce", **more}
        context = browser.new_context(viewport={"width": width, "height": 812}, **look)
        contexts.append(context)
        made = Opened(context.new_page())
        made.page.on("console", lambda message: made.said.append(f"{message.type}: {message.text}"))
        made.page.on("pageerror", lambda error: made.said.append(f"error: {error}"))
        made.page.on("request", lambda request: made.asked.append(request.url))
        made.page.on("requestfailed", lambda request: made.failed.append(request.url[:200]))
        made.page.goto(path.resolve().as_uri())
        return made

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Fresh pages: of a run that is complete ("ok"), failed ("error"), was interrupted ("stop"), and the "index"."""
    root = tmp_path_factory.mktemp("every")
    (root / "pyproject.toml").touch()
    (root / "notebooks").mkdir()
    markdown, code = v4.new_markdown_cell, v4.new_code_cell
    cells = [
        markdown("# Every kind of output\n\nAn introduction."),
        code(PARAMETERS, metadata={"tags": ["parameters"]}),
        markdown(PROSE),
        code(TABLES),
        markdown("## Figures"),
        code(FIGURES),
        markdown("## The end\n\n### The end"),
        code(STREAMS),
        code(END),
        code(LAST),
    ]
    notebook = root / "notebooks" / "every.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), notebook)
    for mode, status in STATUS.items():
        command = [sys.executable, "-m", "ecglib.run", str(notebook), "-p", f"mode={mode}"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stderr[-2000:]
    reports = root / "reports"
    made = {mode: reports / "every" / f"default+mode={mode}" / "report.html" for mode in STATUS}
    return {**made, "index": reports / "index.html"}
