"""Files of measurements, which may be anybody's: what is in them is checked, and their texts are made single lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ag3d.config.results import RENAMED_METRICS
from ag3d.core.errors import UserError, printable
from ag3d.core.files import read_json

Measurement = dict[str, Any]  # a file of ag3d.evaluation.metrics
Metric = dict[str, Any]
LARGEST = 1e300  # of a number
_NUMBER = (int, float)
_KEYS: dict[str, Any] = {"run": str, "kimg": (*_NUMBER, type(None)), "metrics": dict, "protocols": dict}
_METRIC: dict[str, Any] = {
    **dict.fromkeys(("table", "column", "better", "protocol_id"), str),
    **dict.fromkeys(("fakes", "reals"), int),
    **{"main": bool, "value": _NUMBER},
}
_OPTIONAL = dict.fromkeys(("deviation", "low", "high", "floor", "bias", "dimensions"), (*_NUMBER, type(None)))


def read_measurements(paths: list[Path]) -> list[Measurement]:
    """The JSON files of ag3d.evaluation.metrics; for a file that is not there, what its name tells. Raises UserError."""
    return [_read(path) if path.exists() else _not_measured(path) for path in paths]


def single_lines(content: Any) -> Any:
    """The content of a JSON or YAML file with all its texts as `printable`."""
    if isinstance(content, dict):
        return {single_lines(key): single_lines(value) for key, value in content.items()}
    if isinstance(content, list):
        return [single_lines(value) for value in content]
    return printable(content) if isinstance(content, str) else content


def _read(path: Path) -> Measurement:
    where = f"{path} is not a file of measurements"
    try:
        content = single_lines(read_json(path))
    except RecursionError as error:
        raise UserError(f"{where}: it is nested too deeply") from error
    _check(content, _KEYS, where)
    for name, metric in content["metrics"].items():
        of_metric = f"{where}: metric '{name}'"
        _check(metric, _METRIC, of_metric)
        _check({**dict.fromkeys(_OPTIONAL), **metric}, _OPTIONAL, of_metric)
        if not isinstance(content["protocols"].get(metric["protocol_id"]), dict):
            raise UserError(f"{of_metric}: its protocol is missing; measure the run again")
        if metric.get("bias") is not None and metric.get("dimensions") is None:
            raise UserError(f"{of_metric}: 'dimensions' is missing; measure the run again")
    notes = content.get("notes")
    content["notes"] = [str(note) for note in notes] if isinstance(notes, list) else []
    versions = content.get("versions")
    version = versions.get("ag3d") if isinstance(versions, dict) else None
    return {**content, "metrics": _current_names(content["metrics"]), "versions": {"ag3d": str(version or "")}}


def _check(content: Any, kinds: dict[str, Any], where: str) -> None:
    """Raises UserError where a key is missing or its value is of another kind, or no number that can be shown."""
    if not isinstance(content, dict):
        raise UserError(f"{where}; measure the run again")
    for key, kind in kinds.items():
        value = content.get(key)
        if key not in content:
            raise UserError(f"{where}: '{key}' is missing; measure the run again")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"{where}: '{key}' is of another kind; measure the run again")
        if isinstance(value, _NUMBER) and not abs(value) < LARGEST:
            raise UserError(f"{where}: '{key}' is no number that can be shown; measure the run again")


def _not_measured(path: Path) -> Measurement:
    try:
        kimg = float(path.stem)
    except ValueError:
        kimg = None
    return {"run": printable(path.parent.parent.name), "kimg": kimg, "metrics": {}}


def _current_names(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """Metrics of a file of any version under the names that they have today."""

    def current(name: str) -> str:
        for old, new in RENAMED_METRICS.items():
            if name == old or name.startswith(f"{old}_"):
                return new + name.removeprefix(old).removeprefix("_pck")
        return name

    return {current(name): {**metric, "table": current(metric["table"])} for name, metric in metrics.items()}
