"""Pages per second: ours beside ecg-plot, pmecg and matplotlib figures, in one run on the same records.

    python -m benchmarks.draw_pages [--seconds 1] [--rounds 3] [--workers 2] [--all]

Everyone draws the same synthetic 10 s records at 100 Hz as a 3x4 page with a strip of lead II and ends with the pixels
as bytes in memory; no file is written. Everyone gets the same `--workers` processes of one thread each, started
together, so that "two cores" means the same for all. The contenders take turns, round by round, so that a busy machine
disturbs all alike, and the median round counts. Ours is measured as bytes of exact geometry, which is what the peers
draw, and as float32 with geometry drawn at random per record, which is what training takes; `--all` adds the two other
ways. On a GPU, ours is measured in this process: signals and the pages' memory lie on the device before the clock
starts, and the pages stay there, as a network that trains on them reads them there.

The peers are called as their documentation shows for this layout. Matplotlib comes twice: "plain" as one would write
it, with `vlines` and `hlines` for the grid and a `plot` per lead (a grid of axis ticks would be ten times slower);
"lean" as one who counts milliseconds would, with all lines of a kind in one collection without computed limits. The
target speaks of the fastest of ecg-plot, pmecg and plain matplotlib, and is judged on bytes of exact geometry. The
pages are not equal pixel by pixel: each package has its own margins, lettering and pens.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import queue
import statistics
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.case import Case, arguments, finish, peer

RATE, SECONDS, BATCH = 100, 10, 64
SIZES = ((425, 550), (850, 1100))
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))


def records(count: int) -> np.ndarray:
    """(count, 12, 1000) float32 mV: beats of PTB-XL-like height, with noise; the same in every process."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE * SECONDS) / RATE
    out = np.empty((count, 12, len(t)), dtype=np.float32)
    for b in range(count):
        phase = (t * rng.uniform(0.9, 1.6) + rng.random()) % 1
        qrs, wave = np.exp(-(((phase - 0.4) / 0.02) ** 2)), np.exp(-(((phase - 0.65) / 0.06) ** 2))
        height = rng.uniform(-1.2, 1.6, (12, 1))
        out[b] = height * qrs + 0.2 * height * wave + rng.normal(0, 0.02, (12, len(t)))
    return out


# ------------------------------------------------------------------------------- contenders: size -> draw some
def ours(size: tuple[int, int], dtype: str, vary: bool, device: str = "cpu"):
    """A function that draws a batch and returns how many pages that were."""
    import torch

    from ecglib.page import PageRenderer, Vary

    kind = getattr(torch, dtype)
    draw = PageRenderer("3x4+II", rate=RATE, leads=LEADS, size=size, dtype=kind, vary=Vary() if vary else None)
    batch = BATCH if device == "cpu" else _accelerator_batch(size)
    signal = torch.from_numpy(records(BATCH)).repeat(-(-batch // BATCH), 1, 1)[:batch].to(device)
    index = torch.arange(batch, device=device)
    out = torch.empty((batch, 3, *size), dtype=kind, device=device)
    seed = iter(range(1 << 30))

    def step() -> int:
        draw(signal, index=index, seed=next(seed), out=out)
        return batch

    return step


def _accelerator_batch(size: tuple[int, int]) -> int:
    """Pages per step: 1024 of the smaller size or as much, and no more than a quarter of the free memory holds."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    page = 3 * size[0] * size[1]
    return max(1, min(1024 * 3 * SIZES[0][0] * SIZES[0][1], free // 4 // 4) // page)  # 4 bytes per float32


class MatplotlibSheet:
    """What both matplotlib contenders draw, in mm on the same paper as ours, as empty axes and lists of lines."""

    minor, major = ("#f5b8b3", 0.2), ("#e6807d", 0.4)  # colour and line width of the grids

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self.width = size, 279.4
        self.height = self.width * size[0] / size[1]
        self.x = 15 + 25 * np.arange(RATE * SECONDS) / RATE
        self.pulses = [([7, 8, 8, 13, 13, 14], [y, y, y - 10, y - 10, y, y]) for y in (33, 83, 133, 183)]

    def axes(self):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(self.size[1] / 100, self.size[0] / 100), dpi=100)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        return axes

    def write_names(self, axes) -> None:
        for r, row in enumerate(ROWS):
            for c, name in enumerate(row):
                axes.text(self.x[c * RATE * SECONDS // 4] + 1, 24 + 50 * r, name, fontsize=6)

    def traces(self, signal: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """x and y of each panel's trace and of the strip."""
        part = [slice(c * RATE * SECONDS // 4, (c + 1) * RATE * SECONDS // 4) for c in range(4)]
        panels = [(r, part[c], LEADS.index(name)) for r, row in enumerate(ROWS) for c, name in enumerate(row)]
        lines = [(self.x[at], 33 + 50 * r - 10 * signal[lead, at]) for r, at, lead in panels]
        return [*lines, (self.x, 183 - 10 * signal[1])]

    def pixels(self, axes) -> np.ndarray:
        axes.figure.canvas.draw()
        pixels = np.asarray(axes.figure.canvas.buffer_rgba())[..., :3]
        assert pixels.shape == (*self.size, 3)
        return pixels


def matplotlib_lean(size: tuple[int, int]):
    from matplotlib.collections import LineCollection

    sheet, signals = MatplotlibSheet(size), iter(_forever(records(BATCH)))

    def grid(step: int) -> list:
        upright = [((k, 0), (k, sheet.height)) for k in range(0, int(sheet.width) + 1, step)]
        return upright + [((0, k), (sheet.width, k)) for k in range(0, int(sheet.height) + 1, step)]

    minor, major = grid(1), grid(5)

    def step() -> int:
        axes = sheet.axes()
        for lines, (colour, line) in ((minor, sheet.minor), (major, sheet.major)):
            axes.add_collection(LineCollection(lines, colors=colour, linewidths=line), autolim=False)
        sheet.write_names(axes)
        lines = [np.column_stack(xy) for xy in (*sheet.traces(next(signals)), *sheet.pulses)]
        axes.add_collection(LineCollection(lines, colors="black", linewidths=0.7), autolim=False)
        sheet.pixels(axes)
        return 1

    return step


def matplotlib_plain(size: tuple[int, int]):
    sheet, signals = MatplotlibSheet(size), iter(_forever(records(BATCH)))

    def step() -> int:
        axes = sheet.axes()
        for step_mm, (colour, line) in ((1, sheet.minor), (5, sheet.major)):
            axes.vlines(np.arange(0, sheet.width, step_mm), 0, sheet.height, colors=colour, linewidths=line)
            axes.hlines(np.arange(0, sheet.height, step_mm), 0, sheet.width, colors=colour, linewidths=line)
        sheet.write_names(axes)
        for x, y in (*sheet.traces(next(signals)), *sheet.pulses):
            axes.plot(x, y, "k", linewidth=0.7)
        sheet.pixels(axes)
        return 1

    return step


def pmecg(size: tuple[int, int]):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd
    import pmecg as peer

    frames = [pd.DataFrame(r.T, columns=LEADS) for r in records(BATCH)]
    configuration = peer.template_factory("4x3", frames[0], leads_map=None)
    plotter, turn = peer.ECGPlotter(), iter(_forever(frames))

    def step() -> int:
        frame = next(turn)
        strip = peer.RhythmStripsConfig(ecg_data=frame[["II"]])
        figure = plotter.plot(
            frame, configuration=configuration, sampling_frequency=RATE, show=False, rhythm_strips=strip
        )
        figure.set_dpi(size[1] / figure.get_size_inches()[0])
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        assert abs(pixels.shape[1] - size[1]) <= 1
        plt.close(figure)
        return 1

    return step


def ecg_plot(size: tuple[int, int]):
    import ecg_plot as peer
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    turn = iter(_forever(records(BATCH)))

    def step() -> int:
        chart = peer.plot(
            next(turn), sample_rate=RATE, lead_names=LEADS, layout="12lead", rhythm_lead="II", time_mode="sequential"
        )
        figure, _ = chart.to_matplotlib()
        figure.set_dpi(size[1] / figure.get_size_inches()[0])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        assert abs(pixels.shape[1] - size[1]) <= 1
        return 1

    return step


def _forever(items):
    while True:
        yield from items


PEERS = {"matplotlib": (matplotlib_plain, ()), "pmecg": (pmecg, ()), "ecg-plot": (ecg_plot, ())}
LEAN = {"matplotlib, lean": (matplotlib_lean, ())}
OURS = {
    "ours, bytes": (ours, ("uint8", False)),
    "ours, float32": (ours, ("float32", False)),
    "ours, bytes, varied": (ours, ("uint8", True)),
    "ours, float32, varied": (ours, ("float32", True)),
}
CONTENDERS = PEERS | LEAN | OURS
USUAL = ("ours, bytes", "ours, float32, varied")
LIKE_PEERS = ("ours, bytes",)  # the target is judged on what the peers draw, too
TARGET, ON_GPU = "100 x the fastest of ecg-plot, pmecg and matplotlib", "over 20,000 pages/s"


# --------------------------------------------------------------------------------------------------------- measuring
def _work(name: str, size: tuple[int, int], seconds: float, ready, results) -> None:
    """One worker process: warms up, waits for the others, draws for `seconds`."""
    try:
        import torch

        torch.set_num_threads(1)
        make, arguments = CONTENDERS[name]
        step = make(size, *arguments)
        step()
        ready.wait(timeout=120)
        begin, pages = time.perf_counter(), 0
        while (spent := time.perf_counter() - begin) < seconds:
            pages += step()
        results.put((pages / spent, None))
    except Exception as error:  # the parent reports it and stops; a peer that fails must not count as slow
        ready.abort()
        results.put((0.0, f"{type(error).__name__}: {error}"))


def pages_per_second(name: str, size: tuple[int, int], seconds: float, workers: int) -> float:
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(workers), context.Queue()
    started = [context.Process(target=_work, args=(name, size, seconds, ready, results)) for _ in range(workers)]
    for process in started:
        process.start()
    answers: list[tuple[float, str | None]] = []
    while len(answers) < workers:
        try:
            answers.append(results.get(timeout=5))
        except queue.Empty:
            if any(process.exitcode for process in started):
                answers += [(0.0, "its process died")] * (workers - len(answers))
    for process in started:
        process.join()
    for _, error in answers:
        if error and "BrokenBarrier" not in error:
            raise SystemExit(f"{name} cannot be measured: {error}")
    return sum(rate for rate, _ in answers)


def on_gpu(name: str, size: tuple[int, int], seconds: float, rounds: int) -> float:
    """Pages a second of one of ours; the host waits for each step to end before it counts its pages."""
    import torch

    step = ours(size, *OURS[name][1], device="cuda")
    for _ in range(3):  # kernels are loaded, constants copied, memory is asked for
        step()
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin, pages = time.perf_counter(), 0
        while (spent := time.perf_counter() - begin) < seconds:
            pages += step()
            torch.cuda.synchronize()
        found.append(pages / spent)
    del step  # its pages
    torch.cuda.empty_cache()
    return statistics.median(found)


def measure(size: tuple[int, int], kinds: Sequence[str], asked) -> list[Case]:
    """A case for each of ours at this size: the contenders take turns, round by round."""
    there = [n for n in PEERS if n == "matplotlib" or peer(n.replace("-", "_")) is not None]
    table: dict[str, list[float]] = {name: [] for name in (*there, *LEAN, *kinds)}
    for _ in range(asked.rounds):
        for name, speeds in table.items():
            speeds.append(pages_per_second(name, size, asked.seconds, asked.workers))
    speed = {name: statistics.median(speeds) for name, speeds in table.items()}
    beside = {name: speed.get(name) for name in (*PEERS, *LEAN)}
    cases = []
    for name in kinds:
        title = f"{size[1]} x {size[0]} px, {name.removeprefix('ours, ')}, {asked.workers} processes"
        case = Case(title, "pages/s", "higher", speed[name], beside)
        if name in LIKE_PEERS:
            case = case.judged(TARGET, case.times(*PEERS), 100)
        else:
            case = dataclasses.replace(case, note="More than the peers do, who draw bytes of one fixed geometry.")
        cases.append(case)
    return cases


def gpu_cases(sizes: Sequence[tuple[int, int]], kinds: Sequence[str], asked) -> list[Case]:
    import torch

    cases = []
    for size in sizes:
        for name in kinds:
            title = f"{size[1]} x {size[0]} px, {name.removeprefix('ours, ')}, GPU"
            if torch.cuda.is_available():
                found, note = on_gpu(name, size, asked.seconds, asked.rounds), f"{torch.cuda.get_device_name()}."
            else:
                found, note = None, "Not yet measured: no GPU here."
            cases.append(Case(title, "pages/s", "higher", found, note=note).judged(ON_GPU, found, 20_000))
    return cases


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="per contender and round (1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each (2)")
    parser.add_argument("--all", action="store_true", help="ours in all four ways")
    asked = parser.parse_args(argv)
    kinds, sizes = (OURS if asked.all else USUAL), SIZES
    if asked.quick:
        asked.seconds, asked.rounds, asked.workers, kinds, sizes = 0.2, 1, 1, USUAL[:1], SIZES[:1]
    cases = [case for size in sizes for case in measure(size, kinds, asked)]
    finish(cases + gpu_cases(sizes, kinds, asked), asked)


if __name__ == "__main__":
    main()
