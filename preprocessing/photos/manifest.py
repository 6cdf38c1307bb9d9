"""A shard's manifest of photographs, and the reading of the photographs in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ag3d.core.errors import UserError
from ag3d.core.files import read_record, read_table
from ag3d.preprocessing import schemas
from ag3d.preprocessing.photos.read_image import Photo, PhotoError, file_hash, read_photo
from ag3d.preprocessing.photos.video import FrameReader


class Manifest:
    """The table that the stage `photos` wrote. Every later stage reads photographs through it, all at the same size."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises UserError where the manifest, or the folder of its photographs, is missing."""
        self.path = Path(path)
        self.table = read_table(path, schemas.PHOTOS)
        record = read_record(path)
        folder, settings = record.get("folder"), record.get("settings")
        largest = settings.get("max_pixels") if isinstance(settings, dict) else None
        if not isinstance(folder, str) or "\0" in folder or type(largest) is not int or largest < 1:
            raise UserError(f"{path} is not a manifest of photographs; make it with ag3d.preprocessing.photos")
        if self.table[["photo_id", "path", "frame", "sha256", "status"]].isna().any(axis=None):
            raise UserError(f"{path} names no file or no verdict in some rows; delete it and run again")
        self.folder = self.path.absolute().parent / folder
        self.max_pixels = largest
        self._source: dict[str, tuple[str, int, str]] = {
            row["photo_id"]: (row["path"], row["frame"], row["sha256"]) for row in self.table.to_dict("records")
        }
        self._video: FrameReader | None = None  # the one that was read last
        if len(self.table) and not os.path.isdir(self.folder):
            raise UserError(
                f"the folder of photographs {self.folder} is gone; put it back, or run the stage photos again"
            )

    def rows(self) -> list[dict[str, Any]]:
        """The photographs that can be used."""
        return self.table[self.table["status"] == "ok"].to_dict("records")

    def photo(self, photo_id: str, max_pixels: int | None = None) -> Photo:
        """The photograph, upright, at the size (width, height) of the manifest, or of at most `max_pixels` pixels.

        Raises PhotoError if it is gone, or another file than the one that was listed. Frames of a video are quick in the
        manifest's order.
        """
        path, frame, recorded = self._source[photo_id]
        limit = min(self.max_pixels, max_pixels or self.max_pixels)
        if frame < 0:
            _check_unchanged(self.folder / path, recorded)
            return read_photo(self.folder / path, limit)
        if self._video is None or self._video.path != self.folder / path:
            _check_unchanged(self.folder / path, recorded)
            of_video = (self.table["path"] == path) & (self.table["frame"] >= 0)
            self._video = FrameReader(self.folder / path, self.table.loc[of_video, "frame"].tolist())
        return Photo.of_frame(self._video.read(frame), limit)

    def photos(self) -> Iterator[tuple[dict[str, Any], Photo | PhotoError]]:
        """Each usable row with its photograph, or with the error that reading it gives now."""
        for row in self.rows():
            try:
                yield row, self.photo(row["photo_id"])
            except PhotoError as error:
                yield row, error


def _check_unchanged(path: Path, recorded: str) -> None:
    if not path.exists():
        raise PhotoError("the file is missing")
    if file_hash(path) != recorded:
        raise PhotoError("the file changed after it was listed; run the same command again")


def recorded_folder(folder: str | os.PathLike[str], manifest: str | os.PathLike[str]) -> str:
    """How a manifest names its photographs' folder: relative where both lie in the data set's folder, so that the data
    set can be moved, else absolute."""
    photos, home = Path(folder).expanduser().resolve(), Path(manifest).absolute().parent.resolve()
    return os.path.relpath(photos, home) if photos.is_relative_to(home.parent) else str(photos)
