import re
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from where import REPO

from ecglib import environment

PYPROJECT, LOCK = REPO / "pyproject.toml", REPO / "requirements.lock"
REQUIREMENTS = [r for group in environment.requirements(PYPROJECT).values() for r in group]


def test_the_lock_is_made_from_this_pyproject():
    assert LOCK.read_text().splitlines()[0] == environment.stamp(PYPROJECT), "run `make lock`"


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_the_lock_meets_every_requirement(requirement):
    wanted = Requirement(requirement)
    versions = environment.locked(LOCK)[wanted.name]
    assert all(wanted.specifier.contains(v) for v in versions)


def test_the_lock_pins_hashes_and_names_no_address():
    text = LOCK.read_text()
    pins = sum(len(v) for v in environment.locked(LOCK).values())
    assert pins > 100
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)
    blocks = re.split(r"\n(?=[a-z])", text)
    assert all("--hash=sha256:" in block for block in blocks if "==" in block.splitlines()[0])


def test_environment_yml_is_made_from_this_pyproject():
    text = (REPO / "environment.yml").read_text()
    assert text == environment.conda_environment(PYPROJECT), "run `make lock`"
    names = {re.match(r"[a-z0-9_.-]+", d).group() for d in yaml.safe_load(text)["dependencies"] if isinstance(d, str)}
    asked = "jupyterlab papermill pytorch wfdb seaborn pandas scikit-learn jupytext nbval"
    assert set(asked.split()) <= names


def test_a_changed_pyproject_is_noticed(tmp_path):
    changed = tmp_path / "pyproject.toml"
    changed.write_text(PYPROJECT.read_text().replace('"scipy>=', '"scipy>=0.'))
    assert environment.stamp(changed) != environment.stamp(PYPROJECT)
    assert environment.conda_environment(changed) != environment.conda_environment(PYPROJECT)


def test_a_version_beside_the_lock_is_named(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(
        f"numpy==0.0.1 \\\n    --hash=sha256:00\nnot-installed-anywhere==1.0\nscipy=={metadata.version('scipy')}\n"
    )
    assert environment.differences(lock) == [f"numpy {metadata.version('numpy')} instead of 0.0.1"]


def test_the_distribution_is_not_called_ecglib():
    assert metadata.metadata("ecg-notebooks")["Name"] == "ecg-notebooks"
