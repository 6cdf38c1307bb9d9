"""What the page's template draws."""

from __future__ import annotations

from dataclasses import dataclass, field

from ag3d.evaluation.tables.comparison import Table


@dataclass
class Figure:
    """A picture, plot or video with its caption."""

    uri: str
    caption: str = ""
    narrow: bool = False
    video: bool = False
    pixelated: bool = False  # small generated pictures are enlarged without blur


@dataclass
class Card:
    """A number of the summary."""

    value: str
    name: str
    detail: str = ""


@dataclass
class Grid:
    """Text cells under headings; the first column names the row."""

    columns: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass
class Picture:
    """A tile of a contact sheet."""

    uri: str
    caption: str = ""
    rejected: bool = False


@dataclass
class Stage:
    """A stage of the preprocessing."""

    name: str
    title: str
    text: str
    count: str
    pictures: list[Picture]
    accuracy: Grid | None = None


@dataclass
class Page:
    """The whole report. Empty parts are left out by the template; `missing` names what the run does not have."""

    title: str
    subtitle: str
    cards: list[Card] = field(default_factory=list)
    journey_heads: list[str] = field(default_factory=list)
    journey: list[list[Picture | None]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    dataset: list[tuple[Picture, Picture]] = field(default_factory=list)
    rejected: list[Picture] = field(default_factory=list)
    rejected_counts: Grid | None = None
    rejected_rows: Grid | None = None
    filters: list[Figure] = field(default_factory=list)
    poses: list[Figure] = field(default_factory=list)
    previews: list[Figure] = field(default_factory=list)
    curves: list[Figure] = field(default_factory=list)
    avatars: list[Figure] = field(default_factory=list)
    details: list[Figure] = field(default_factory=list)  # more pictures of the avatars
    videos: list[Figure] = field(default_factory=list)
    viewer: str = ""  # the page beside this one that shows avatars in 3D
    tables: list[Table] = field(default_factory=list)
    metrics: Grid | None = None
    neighbours: Figure | None = None  # training images beside generated ones
    timing: Figure | None = None
    times: Grid | None = None
    versions: Grid | None = None
    configuration: str = ""
    missing: list[str] = field(default_factory=list)
