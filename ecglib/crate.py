"""A run as an RO-Crate, the form in which repositories such as Zenodo or WorkflowHub take research results.

    python -m ecglib.crate reports/lead_kd/demo --to lead_kd.zip --licence CC-BY-4.0
    python -m ecglib.crate reports/lead_kd/demo --to deposit/lead_kd          a folder instead

The crate holds what the run left (report, metrics, predictions, history, tables, models) and ro-crate-metadata.json,
which says what made it: notebook and commit, parameters, packages, times, and the data sets by name, citation, licence
and fingerprint. The data themselves are not in it, nor is anything else from outside the run's folder. Who ran it is
not on record and is not said. The same run gives the same bytes, and nothing is looked up anywhere.

Follows RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) and Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5).
Unpacked it is a run's folder again: `python -m ecglib.run --verify` takes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecglib import atomic, files, provenance, results
from ecglib.errors import InputError

CRATE = "1.1"
PROFILE = {"@id": "https://w3id.org/ro/wfrun/process/0.5", "name": "Process Run Crate", "version": "0.5"}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
"""Defines sha256, which RO-Crate 1.1 does not."""
FILES = {
    "report.html": ("text/html", "The report: one page that needs nothing else"),
    "report.png": ("image/png", "The top of the report as a picture"),
    "executed.ipynb": ("application/x-ipynb+json", "The notebook as executed, with its outputs"),
    "metrics.json": ("application/json", "Every metric, one flat list of rows with 95 % intervals"),
    "metrics.json.gz": ("application/gzip", "Every metric, one flat list of rows with 95 % intervals, compressed"),
    "predictions.parquet": ("application/vnd.apache.parquet", "A row per test record: labels and predictions"),
    "history.csv": ("text/csv", "A row per model, seed and epoch of training"),
    "data.json": ("application/json", "The data sets used: counts, fingerprints, citations, licences"),
    "run.json": ("application/json", "The run: notebook, parameters, environment, checks, status"),
    "verify.json": ("application/json", "Whether the run was reproduced when it was run again"),
}
MADE_LATER = ("report.png", "verify.json")
MODEL = {
    ".safetensors": ("application/octet-stream", "Weights of the model {}"),
    ".json": ("application/json", "What a user of the model {} needs to know"),
}
TABLE = {
    ".csv": ("text/csv", "A table of the report for use elsewhere"),
    ".tex": ("application/x-tex", "A table of the report for use in a paper (LaTeX)"),
}
METADATA = "ro-crate-metadata.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive: the earliest that a ZIP knows."""


def export(run: Path, to: Path, licence: str | None = None) -> Path:
    """Write the complete run in the folder `run` as a crate to `to`, an archive if it ends in .zip, else a folder.

    licence: of the results, an SPDX name such as CC-BY-4.0 or an address; None leaves it open, which the crate says.

    Raises:
        InputError: the run is not complete, holds a link, or lacks part of its record or metrics; `to` is taken, or in
            the run's folder.
    """
    record = results.read(run)
    if record.status != "complete":
        raise InputError(f"{run}: its run is {record.status}; only a complete run becomes a crate")
    if missing := [
        key for key in ("started", "ended", "parameters", "environment", "command") if key not in record.record
    ]:
        raise InputError(f"{run / 'run.json'}: its record lacks {' and '.join(missing)}; give another run's folder")
    if faults := results.metric_faults(record.rows):
        raise InputError(f"{run}: its metrics are not as the runner writes them: {faults[0]}")
    if to.exists() and (not to.is_dir() or any(to.iterdir()) or to.suffix.lower() == ".zip"):
        raise InputError(f"--to {to}: is there already; give another name, or remove it first")
    if run.resolve() in (to.resolve(), *to.resolve().parents):
        raise InputError(f"--to {to}: lies in the run's own folder; give a place outside")
    kept = list(_files(run))
    crate = _crate(record, kept, _licence(licence))
    with files.writable(to):
        to.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing(to) as temporary:
        if to.suffix.lower() == ".zip":
            _zip(crate, kept, temporary)
        else:
            crate.write(temporary)
    return to


def _files(run: Path) -> Iterator[tuple[str, Path, str, str]]:
    """(name in the crate, path, media type, description) of what the run left. Raises InputError for a link."""
    if not any((run / name).is_file() for name in ("metrics.json", "metrics.json.gz")):
        raise InputError(f"{run}: holds no metrics.json; a crate is made of a whole run")
    found = [(name, run / name, *about) for name, about in FILES.items() if (run / name).exists()]
    folders = {"tables": (TABLE, "A table of the report"), "model": (MODEL, "Part of the model {}")}
    inside = {folder: sorted((run / folder).rglob("*")) for folder in folders}
    for path in (
        [path for _, path, *_ in found] + [run / folder for folder in folders] + [*inside["tables"], *inside["model"]]
    ):
        if path.is_symlink():
            raise InputError(f"{path}: is a link; a crate takes nothing from outside the run's folder, so replace it")
    for folder, (kinds, otherwise) in folders.items():
        for path in filter(Path.is_file, inside[folder]):
            kind, about = kinds.get(path.suffix, ("application/octet-stream", otherwise))
            found.append((path.relative_to(run).as_posix(), path, kind, about.format(path.parent.name)))
    yield from found


def _crate(run: results.RunRecord, files: list[tuple[str, Path, str, str]], licence: dict[str, Any]) -> Any:
    """The crate, not written yet; entities in a fixed order under names that the run gives them."""
    from rocrate.model import ContextEntity
    from rocrate.rocrate import ROCrate

    record = run.record
    crate = ROCrate(version=CRATE)
    crate.metadata.extra_contexts.append(TERMS)

    def entity(identifier: str, kind: str | list[str], /, **properties: Any) -> Any:
        kept = {key: value for key, value in properties.items() if value not in (None, "", [])}
        return crate.get(identifier) or crate.add(ContextEntity(crate, identifier, {"@type": kind, **kept}))

    made = []
    for name, path, media, about in files:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        properties = {"name": name, "description": about, "encodingFormat": media, "sha256": digest}
        properties["contentSize"] = str(path.stat().st_size)
        made.append((name, crate.add_file(path, name, properties=properties)))

    preset = f"preset {run.preset}" if run.preset else "no preset"
    root = crate.root_dataset
    root["name"] = f"ECG notebook {run.notebook}, {preset}, run of {record['started'][:10]}"
    root["description"] = _description(run)
    root["datePublished"] = record["ended"]
    root["license"] = entity(licence.pop("@id"), "CreativeWork", **licence)
    root["conformsTo"] = entity(PROFILE["@id"], "CreativeWork", name=PROFILE["name"], version=PROFILE["version"])
    parameters = [
        entity(
            f"#parameter-{name}",
            "PropertyValue",
            name=name,
            value=entry["value"] if isinstance(entry["value"], (str, int, float)) else json.dumps(entry["value"]),
            description=f"{entry.get('meaning', '')} (set by: {entry.get('source', 'notebook')})".strip(),
        )
        for name, entry in record["parameters"].items()
        if name != "out"  # where the run wrote, which the crate is instead
    ]
    action = entity(
        f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, provenance.sha256(run.path / 'run.json') or '')}",
        "CreateAction",
        name=f"Run of the notebook {run.notebook}, {preset}",
        description=record["command"],
        startTime=record["started"],
        endTime=record["ended"],
        actionStatus={"@id": "http://schema.org/CompletedActionStatus"},
        instrument=_notebook(record, entity),
        object=[*_data_sets(run, entity), *parameters],
        result=[file for name, file in made if name not in MADE_LATER],
    )
    root["mentions"] = [action]
    return crate


def _description(run: results.RunRecord) -> str:
    data = " and ".join(dict.fromkeys(entry["name"] for entry in run.data)) or "no data set on record"
    count = f"{len(run.rows):,} rows of metrics"
    return f"What one run of the notebook {run.notebook} left: report, {count}, and what made them. Data: {data}."


def _notebook(record: dict[str, Any], entity: Any) -> Any:
    """What was executed: the notebook, the language it is in, and the packages it used."""
    environment, notebook, git = record["environment"], record["notebook"], record.get("git") or {}
    changed = ", with changes that are not committed" if git.get("dirty") else ""
    packages = environment.get("imported") or environment["packages"]
    return entity(
        "#notebook",
        ["SoftwareSourceCode", "SoftwareApplication"],
        name=notebook["path"],
        description=f"Jupyter notebook, SHA-256 {notebook['sha256']}{changed}",
        version=git.get("commit"),
        programmingLanguage=entity("#python", "ComputerLanguage", name="Python", version=environment["python"]),
        operatingSystem=environment["platform"],
        softwareRequirements=[
            entity(f"#package-{name}", "SoftwareApplication", name=name, softwareVersion=version)
            for name, version in sorted(packages.items())
        ],
    )


def _data_sets(run: results.RunRecord, entity: Any) -> Iterator[Any]:
    """The cohorts of data.json, each once; they are named, not part of the crate."""
    for entry in _each_once(run.data):
        citation, licence = entry.get("citation") or "", entry.get("licence") or ""
        same = (other for other in run.data if other["fingerprint"] == entry["fingerprint"])
        used = [f"{other['role']}: {other['records']:,}" for other in same]
        shown = [f"Records used: {'; '.join(used)}.", *(entry.get("notes") or ())]
        shown += [f"From {entry['source']}."] if entry.get("source") else []
        cited = None
        if citation:
            doi = re.search(r"https?://doi\.org/[^\s,;]*[^\s,;.)]", citation)
            identifier, kind = (doi[0], "ScholarlyArticle") if doi else (f"#citation-{_slug(citation)}", "CreativeWork")
            cited = entity(identifier, kind, name=citation)
        yield entity(
            f"#data-{entry['fingerprint'][:16]}",
            "Dataset",
            name=entry["name"],
            identifier=f"fingerprint {entry['fingerprint']}",
            version=entry.get("source_version"),
            description=" ".join(shown),
            citation=cited,
            license=entity(f"#licence-{_slug(licence)}", "CreativeWork", name=licence) if licence else None,
        )


def _each_once(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for entry in data:
        first.setdefault(entry["fingerprint"], entry)
    return list(first.values())


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower())[:40].strip("-")


def _licence(given: str | None) -> dict[str, Any]:
    """The entity of the results' licence. Raises InputError for what is neither a name nor an address."""
    if given is None:
        open_ = "Whoever deposits the crate chooses a licence; those of the data and the code hold whatever it is."
        return {"@id": "#licence", "name": "No licence stated", "description": open_}
    if re.fullmatch(r"https?://[^\s<>\"]+", given):
        return {"@id": given, "name": given}
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", given):
        return {"@id": f"https://spdx.org/licenses/{given}", "name": given}
    raise InputError(
        f"--licence {given}: is neither an SPDX name such as CC-BY-4.0 nor an address that begins https://"
    )


def _zip(crate: Any, files: list[tuple[str, Path, str, str]], path: Path) -> None:
    """The crate as an archive of the same bytes each time: fixed times, order and rights."""
    metadata = b"".join(chunk for _, chunk in crate.metadata.stream())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in [(METADATA, None), *((name, source) for name, source, *_ in files)]:
            member = zipfile.ZipInfo(name, EPOCH)
            member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            if source is None:
                archive.writestr(member, metadata)
                continue
            with open(source, "rb") as file, archive.open(member, "w", force_zip64=True) as target:
                shutil.copyfileobj(file, target)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ecglib.crate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a complete run, such as reports/lead_kd/demo")
    parser.add_argument("--to", type=Path, required=True, help="an archive that ends in .zip, or a folder")
    parser.add_argument("--licence", help="of the results: an SPDX name such as CC-BY-4.0, or an address")
    options = parser.parse_args(arguments)
    try:
        path = export(options.run, options.to, options.licence)
        checks = results.read(options.run).record.get("checks", ())
        for check in checks:
            if check["name"] in ("Code committed", "No absolute path") and check["ok"] is False:
                print(f"note: {check['name']}: {check['text']}", file=sys.stderr)
        print(path)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
