"""Contact sheets: for every stage, pictures of people who passed and of people it left out, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ag3d.evaluation.report import overlays
from ag3d.evaluation.report.media import on_white
from ag3d.evaluation.results_reader import DatasetResults, resample_evenly
from ag3d.model.body.body import Body

SIDE = 256  # of the pictures, longer side


@dataclass
class Tile:
    """A picture with a line under it. `rejected`: the stage left this person out."""

    image: np.ndarray  # uint8 RGB
    caption: str = ""
    rejected: bool = False


Draw = Callable[[str], np.ndarray | None]


class Sheets:
    """Draws the stages' results. People are named by person_id; each draws to None where a stage has nothing."""

    def __init__(self, data: DatasetResults, body: Body) -> None:
        self.data = data
        self.body = body
        self.draw: dict[str, Draw] = {
            "photos": self.photo,
            "people": self.people,
            "matting": self.matte,
            "fitting": self.fit,
            "alignment": self.aligned,
            "normals": self.normal,
        }

    def photo(self, person: str) -> np.ndarray | None:
        photo = self.data.photograph(person, SIDE)
        return None if photo is None else photo.image

    def people(self, person: str) -> np.ndarray | None:
        """Box and landmarks over the photograph."""
        row, photo = self._row("people", person), self.data.photograph(person, SIDE)
        if row is None or photo is None:
            return None
        points = _numbers(row["landmarks_2d"])
        if points is None or len(points) != 66:
            return photo.image
        box = _numbers(row["box"])
        visible = _numbers(row["visibility"])
        visible = np.ones(33) if visible is None else visible
        return overlays.landmarks(
            photo.image, points.reshape(33, 2) * photo.scale, visible, None if box is None else box * photo.scale
        )

    def matte(self, person: str) -> np.ndarray | None:
        alpha, photo = self.data.image("matting", f"{person}.png"), self.data.photograph(person, SIDE)
        if alpha is None or photo is None:
            return None
        return overlays.cutout(photo.image, alpha)

    def fit(self, person: str) -> np.ndarray | None:
        row, photo = self._row("fitting", person), self.data.photograph(person, SIDE)
        if row is None or photo is None or not np.isfinite(row["half"]):
            return None
        return overlays.fit(photo.image, self.body, row, photo.scale)

    def aligned(self, person: str) -> np.ndarray | None:
        crop, label = self.data.image("alignment", f"{person}.png"), self.data.labels().get(person)
        if crop is None or label is None:
            return None
        return overlays.crop_with_outline(crop, self.body, label, max(SIDE, len(crop)))

    def normal(self, person: str) -> np.ndarray | None:
        return self.data.image("normals", f"{person}.png")

    def sheet(self, stage: str, count: int, rejected: int) -> list[Tile]:
        """Up to `count` people of the data set at this stage, then up to `rejected` that it left out."""
        tiles = self._tiles(stage, [(person, "") for person in resample_evenly(self.data.people(), count)], False)
        table = self.data.rejected()
        left_out = table[table["stage"] == stage]
        captions = [(r["photo_id"], reason(r)) for r in resample_evenly(left_out.to_dict("records"), rejected)]
        return tiles + self._tiles(stage, captions, True)

    def journey(self, count: int) -> list[tuple[str, list[Tile | None]]]:
        """Rows of people of the data set: their pictures through all stages."""
        rows = []
        for person in resample_evenly(self.data.people(), count):
            pictures = [draw(person) for draw in self.draw.values()]
            rows.append((person, [None if p is None else Tile(p) for p in pictures]))
        return rows

    def dataset(self, count: int) -> list[tuple[Tile, Tile]]:
        """Images and normal maps as the training reads them."""
        pairs = []
        for person in resample_evenly(self.data.people(), count):
            image = self.data.image("dataset", f"img_{person}.png")
            normal = self.data.image("dataset", f"normal_{person}.png")
            if image is not None and normal is not None:
                pairs.append((Tile(on_white(image)), Tile(on_white(normal))))
        return pairs

    def _tiles(self, stage: str, people: list[tuple[str, str]], rejected: bool) -> list[Tile]:
        tiles = []
        for person, caption in people:
            image = self.draw[stage](person)
            if image is None and rejected:
                image = self.photo(person)
                image = striped() if image is None else image
            if image is not None:
                tiles.append(Tile(image, caption, rejected))
        return tiles

    def _row(self, stage: str, person: str) -> dict[str, Any] | None:
        table = self.data.table(stage)
        return table.loc[person].to_dict() if person in table.index else None


def reason(row: dict[str, Any]) -> str:
    """Why somebody was left out, with the measured value."""
    value = row.get("value")
    measured = f" ({value:.3g})" if value is not None and np.isfinite(value) else ""
    return f"{row['reason']}{measured}"


def striped(side: int = 128) -> np.ndarray:
    """A picture for files that hold none: grey stripes."""
    y, x = np.mgrid[:side, :side]
    return np.repeat(np.where((x + y) // 12 % 2, 205, 190)[..., None], 3, axis=2).astype(np.uint8)


def _numbers(values: Any) -> np.ndarray | None:
    """A list column's cell as float64; None where it is empty."""
    if values is None or np.isscalar(values):
        return None
    return np.concatenate([np.ravel(v) for v in values]).astype(np.float64) if len(values) else None
