"""Only complete, committed, small runs get in; the README says what the committed metrics say."""

import json
import re
from pathlib import Path

import pytest
from where import REPO

from ecglib import gallery, results
from ecglib.errors import InputError
from ecglib.evaluation import ROW

GALLERY = REPO / "reports" / "gallery"


def row(**given):
    usual = {
        "protocol": "p",
        "data": "d",
        "split": "test",
        "class": "macro",
        "low": 0.7,
        "high": 0.9,
        "seed": 0,
        "n": 9,
    }
    return {key: (usual | given).get(key) for key in ROW}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A run's folder as the runner leaves it."""
    folder = tmp_path / "reports/lead_kd/mine"
    folder.mkdir(parents=True)
    record = {
        "notebook": {"name": "lead_kd"},
        "preset": "mine",
        "status": "complete",
        "git": {"commit": "c", "dirty": []},
    }
    rows = [row(model=m, metric=k, value=0.8) for m in ("a", "b", "a - b") for k in ("auc", "f1")]
    data = [{"name": "ptb-xl", "records": 1234, "counts": {"train": 1000, "test": 234}}]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "metrics.json").write_text(json.dumps(rows))
    (folder / "data.json").write_text(json.dumps(data))
    (folder / "report.html").write_text("<!doctype html><title>t</title><h1>Hello</h1>")
    for name in ("history.csv", "predictions.parquet"):
        (folder / name).write_bytes(b"x")
    return folder


def change(folder, **given):
    record = json.loads((folder / "run.json").read_text()) | given
    (folder / "run.json").write_text(json.dumps(record))


def test_a_finished_run_is_copied(finished, tmp_path):
    place = gallery.add(finished, tmp_path / "gallery")
    assert place.name == "lead_kd-mine"
    there = {path.name for path in place.iterdir()}
    assert there - {"report.png"} == {*gallery.KEPT, "metrics.json.gz"} - {"metrics.json"}
    assert results.read(place).rows == results.read(finished).rows
    packed = (place / "metrics.json.gz").read_bytes()
    gallery.add(finished, tmp_path / "again")
    assert (tmp_path / "again" / place.name / "metrics.json.gz").read_bytes() == packed


def test_a_run_that_judged_no_model_has_neither_predictions_nor_history(finished, tmp_path):
    for name in ("history.csv", "predictions.parquet"):
        (finished / name).unlink()
    place = gallery.add(finished, tmp_path / "gallery")
    assert {path.name for path in place.iterdir()} - {"report.png"} == {*gallery.NEEDED, "metrics.json.gz"} - {
        "metrics.json"
    }


def test_predictions_that_make_it_too_large_stay_behind(finished, tmp_path, monkeypatch, capsys):
    (finished / "predictions.parquet").write_bytes(b"x" * 5000)
    monkeypatch.setattr(gallery, "MAX_BYTES", 4000)
    place = gallery.add(finished, tmp_path / "gallery")
    assert not (place / "predictions.parquet").exists()
    assert "predictions.parquet stays behind" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"status": "failed"}, "is failed"),
        ({"git": {"commit": "c", "dirty": ["ecglib/leads.py"]}}, "not committed"),
        ({"git": None}, "not committed"),
    ],
)
def test_no_other_run_gets_in(finished, tmp_path, given, said):
    change(finished, **given)
    with pytest.raises(InputError, match=said):
        gallery.add(finished, tmp_path / "gallery")
    assert not (tmp_path / "gallery").exists()


def test_a_large_one_does_not_get_in(finished, tmp_path):
    (finished / "history.csv").write_bytes(b"x" * gallery.MAX_BYTES)
    with pytest.raises(InputError, match=r"3\.0 MB"):
        gallery.add(finished, tmp_path / "gallery")


def test_the_readme_takes_its_numbers_from_the_metrics(finished, tmp_path):
    place = gallery.add(finished, tmp_path / "gallery")
    text = f"before\n<!-- gallery {place.name} -->\nold\n<!-- end -->\nafter\n"
    made = gallery.renew(text, tmp_path / "gallery")
    assert "old" not in made
    assert "ptb-xl, 1,234 records (1,000 train, 234 test), 1 seed." in made
    assert "| a | 0.800 [0.700, 0.900] | 0.800 [0.700, 0.900] |" in made
    assert "- a is above b (macro AUC +0.800 [+0.700, +0.900], paired, 9 records, 1 seed)." in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert gallery.renew(made, tmp_path / "gallery") == made


@pytest.mark.parametrize("page", gallery.pages(REPO), ids=lambda path: path.stem)
def test_this_page_is_up_to_date_and_its_links_lead_somewhere(page):
    text = page.read_text()
    assert gallery.renew(text, GALLERY) == text, "run `python -m ecglib.gallery`"
    for path in re.findall(r"""(?:\]\(|href="|src=")(?!https?:|#)([^)"#]+)""", text):
        assert (page.parent / path).exists(), path


def test_every_report_of_the_gallery_is_on_some_page():
    text = "\n".join(page.read_text() for page in gallery.pages(REPO))
    for place in GALLERY.iterdir():
        assert f"gallery/{place.name}/report.html" in text
        if (place / "predictions.parquet").exists():  # models were judged
            assert f"<!-- gallery {place.name}" in text


def test_a_mark_may_name_models(finished, tmp_path):
    rows = [row(model=m, metric="auc", value=0.8, low=0.7) for m in ("a", "b", "c", "a - b", "a - c")]
    (finished / "metrics.json").write_text(json.dumps(rows))
    place = gallery.add(finished, tmp_path / "gallery")
    made = gallery.renew(f"<!-- gallery {place.name}: p | a, c -->\n<!-- end -->\n", tmp_path / "gallery")
    assert "| a |" in made
    assert "| b |" not in made
    assert "a is above c" in made
    assert "a is above b" not in made
    with pytest.raises(InputError, match="No model of lead_kd-mine is called 'd'"):
        gallery.block(place, None, ["d"])


@pytest.mark.parametrize("place", sorted(p for p in GALLERY.glob("*") if p.is_dir()), ids=lambda p: p.name)
def test_the_committed_gallery_is_whole(place: Path):
    record = results.read(place)
    assert record.status == "complete"
    assert record.record["git"]["dirty"] == []
    assert sum(path.stat().st_size for path in place.iterdir()) < gallery.MAX_BYTES
    assert results.metric_faults(record.rows) == []
    page = (place / "report.html").read_text()
    assert not re.search(r"""(src|srcset)=["']https?:|url\(["']?https?:""", page)


def test_a_mark_may_name_a_protocol_by_its_end(finished, tmp_path):
    rows = [
        row(model=m, metric="auc", value=v, protocol=p) for p, v in (("x, all", 0.8), ("x, few", 0.71)) for m in "ab"
    ]
    (finished / "metrics.json").write_text(json.dumps(rows))
    place = gallery.add(finished, tmp_path / "gallery")
    made = gallery.renew(f"<!-- gallery {place.name}: few -->\n<!-- end -->\n", tmp_path / "gallery")
    assert "| a | 0.710 [0.700, 0.900] |" in made
    assert "0.800" not in made
    with pytest.raises(InputError, match="No protocol of lead_kd-mine ends in 'more'; it has x, all; x, few"):
        gallery.block(place, "more")
