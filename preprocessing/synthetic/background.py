"""What stands behind people: studio sweeps, rooms and streets, made of planes, blocks and blurred noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ag3d.preprocessing.synthetic.noise import noise2

KINDS = {"studio": 0.36, "room": 0.34, "street": 0.18, "nature": 0.12}


@dataclass
class View:
    """The floor as the camera sees it."""

    width: int
    height: int
    floor: float  # row of the floor beneath the person (pixels)
    metre: float  # pixels per metre
    pitch: float  # radians, the camera looks down
    column: float  # of the person


def sample_background(view: View, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Its kind and an sRGB image [H,W,3] in 0…1."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    small = View(view.width // 2, view.height // 2, view.floor / 2, view.metre / 2, view.pitch, view.column / 2)
    picture = {"studio": _studio, "room": _room, "street": _street, "nature": _nature}[kind](small, rng)
    picture = cv2.resize(picture, (view.width, view.height), interpolation=cv2.INTER_LINEAR)
    return kind, np.clip(picture, 0, 1)


def _horizon(view: View, behind: float) -> int:
    """Row where a floor ends that reaches `behind` metres past the person."""
    return int(view.floor - behind * view.metre * max(np.sin(view.pitch), 0.02) - 0.012 * view.height)


def _object_colour(rng: np.random.Generator) -> np.ndarray:
    """The colour of some object: mostly muted."""
    colour = rng.uniform(0.06, 0.85, 3)
    return colour.mean() + (colour - colour.mean()) * rng.uniform(0.15, 0.75)


def _ramp(height: int, width: int, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    t = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - t) + bottom * t, (height, width, 3)).astype(np.float32)


def _studio(view: View, rng: np.random.Generator) -> np.ndarray:
    h, w = view.height, view.width
    choice = rng.random()
    if choice < 0.45:
        base = np.full(3, rng.uniform(0.82, 0.97))
    elif choice < 0.7:
        base = np.full(3, rng.uniform(0.25, 0.75))
    else:
        base = rng.uniform(0.3, 0.8) + rng.uniform(-0.16, 0.16, 3)
    base = base + rng.normal(0, 0.012, 3)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    cx, cy = w * rng.uniform(0.2, 0.8), h * rng.uniform(0.1, 0.6)
    glow = np.exp(-(((x - cx) / (0.8 * w)) ** 2 + ((y - cy) / (0.8 * h)) ** 2))
    picture = base[None, None] * (0.86 + 0.2 * glow[..., None])
    bend = _horizon(view, rng.uniform(0.8, 2.0))
    step = 1 / (1 + np.exp(-(y - bend) / (rng.uniform(0.01, 0.05) * h)))
    picture = picture * (1 + rng.uniform(-0.1, 0.05) * step[..., None])
    return (picture + 0.006 * noise2(h, w, 6, rng)[..., None]).astype(np.float32)


def _colour(rng: np.random.Generator, low: float, high: float, saturation: float) -> np.ndarray:
    grey = rng.uniform(low, high)
    tint = rng.normal(0, 0.6 * saturation, 3)
    return np.clip(grey * (1 + tint - tint.mean()), 0.02, 0.98)


def _floor(picture: np.ndarray, view: View, top: int, rng: np.random.Generator) -> None:
    """Planks, tiles, carpet or pavement from row `top` down (in place)."""
    h, w = view.height, view.width
    if top >= h - 2:
        return
    rows = np.arange(max(top, 0), h, dtype=np.float32)
    distance = (view.floor - rows) / (view.metre * max(np.sin(view.pitch), 0.04))  # metres behind the person
    perspective = 1 + 0.12 * distance
    x = (np.arange(w, dtype=np.float32)[None] - view.column) / view.metre * np.maximum(perspective, 0.3)[:, None]
    z = np.repeat(distance[:, None], w, 1)
    style = rng.integers(4)
    base = _colour(rng, 0.25, 0.75, 0.08)
    if style == 0:  # planks
        base = np.array([0.55, 0.4, 0.27]) * rng.uniform(0.5, 1.4)
        board = np.floor(z / 0.14)
        length = np.floor(x / 1.3 + np.sin(board * 12.9))
        tone = np.sin(board * 91.7) * 0.07 + np.sin(board * 37.1 + length * 5.3) * 0.05
        gap = (np.abs(z / 0.14 - np.round(z / 0.14)) < 0.03) * -0.12
        tone = tone + gap + 0.03 * np.sin(x * 40 + 3 * np.sin(z * 30))
    elif style == 1:  # tiles
        size = rng.uniform(0.3, 0.6)
        line = (np.abs(z / size - np.round(z / size)) < 0.015) | (np.abs(x / size - np.round(x / size)) < 0.012)
        checker = ((np.floor(z / size + 0.5) + np.floor(x / size + 0.5)) % 2) * rng.choice([0.0, 0.35], p=[0.6, 0.4])
        tone = -0.18 * line + checker - 0.1
    elif style == 2:  # carpet or asphalt
        tone = 0.10 * rng.standard_normal((len(rows), w))
        tone = cv2.GaussianBlur(tone.astype(np.float32), (0, 0), 0.8) + 0.06 * noise2(len(rows), w, 7, rng)
    else:  # concrete
        tone = 0.08 * noise2(len(rows), w, 5, rng, 3)
    shade = 1 - 0.10 * np.clip(distance, 0, 4)[:, None] * rng.uniform(-0.3, 1)
    picture[max(top, 0) :] = base * ((1 + tone) * shade)[..., None]


def _rectangle(
    picture: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: np.ndarray, light: float = 0.0
) -> None:
    """A block with a light gradient across."""
    h, w = picture.shape[:2]
    a, b, c, d = (int(np.clip(v, 0, m)) for v, m in ((x0, w), (x1, w), (y0, h), (y1, h)))
    if b > a and d > c:
        across = 1 + light * np.linspace(-1, 1, b - a, dtype=np.float32)[None, :, None]
        picture[c:d, a:b] = np.asarray(colour, np.float32) * across


def _room(view: View, rng: np.random.Generator) -> np.ndarray:
    h, w, m = view.height, view.width, view.metre
    corner = _horizon(view, rng.uniform(0.5, 2.5))
    wall = _colour(rng, 0.35, 0.92, 0.1)
    picture = _ramp(h, w, wall * rng.uniform(0.85, 1.0), wall * rng.uniform(0.9, 1.05)).copy()
    _wallpaper(picture, view, rng)
    if rng.random() < 0.45:
        _window(picture, view, corner, rng)
    for _ in range(rng.integers(0, 3)):
        _frame(picture, view, corner, rng)
    _floor(picture, view, corner, rng)
    _rectangle(picture, 0, corner - 0.1 * m, w, corner, np.clip(wall * rng.choice([1.2, 0.6]), 0, 1))
    for _ in range(rng.integers(0, 4)):
        _furniture(picture, view, corner, rng)
    if rng.random() < 0.4:
        _plant(picture, rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1)]) * w, corner + 0.1 * m, 0.9 * m, rng)
    glow = 1 + 0.12 * noise2(h, w, 2, rng)[..., None]
    return _defocus(picture * glow, rng.uniform(0.3, 2.2) * h / 400)


def _wallpaper(picture: np.ndarray, view: View, rng: np.random.Generator) -> None:
    h, w = picture.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / view.metre
    style = rng.integers(5)
    if style == 0:  # bricks
        row = np.floor(y / 0.08)
        column = x / 0.24 + 0.5 * (row % 2)
        mortar = (np.abs(y / 0.08 - np.round(y / 0.08)) < 0.07) | (np.abs(column - np.round(column)) < 0.025)
        tone = 0.08 * np.sin(row * 12.9 + np.floor(column) * 78.2) + 0.12 * mortar
        if rng.random() < 0.5:
            picture[:] = np.array([0.6, 0.36, 0.28]) * rng.uniform(0.7, 1.2)
    elif style == 1:  # panels
        size = rng.uniform(0.35, 0.9)
        tone = -0.12 * (np.abs(x / size - np.round(x / size)) < 0.02)
    elif style == 2:  # stripes
        tone = 0.08 * np.sign(np.sin(x * 2 * np.pi / rng.uniform(0.1, 0.4)))
    else:
        tone = 0.03 * noise2(h, w, 8, rng, 2)
    picture *= (1 + tone)[..., None].astype(np.float32)


def _window(picture: np.ndarray, view: View, corner: int, rng: np.random.Generator) -> None:
    m = view.metre
    x0, wide = rng.uniform(-0.2, 0.8) * view.width, rng.uniform(0.8, 1.6) * m
    bottom, top = corner - rng.uniform(0.7, 1.0) * m, corner - rng.uniform(1.9, 2.4) * m
    edge, white = 0.07 * m, np.full(3, rng.uniform(0.6, 0.98))
    _rectangle(picture, x0 - edge, top - edge, x0 + wide + edge, bottom + edge, white)
    a, b = (int(np.clip(v, 0, view.width)) for v in (x0, x0 + wide))
    c, d = (int(np.clip(v, 0, view.height)) for v in (top, bottom))
    if b > a and d > c:
        outside = _ramp(d - c, b - a, np.array([0.85, 0.93, 1.0]), np.array([0.75, 0.82, 0.78]))
        outside = outside - 0.12 * np.clip(noise2(d - c, b - a, 5, rng, 2), 0, 1)[..., None]
        picture[c:d, a:b] = cv2.GaussianBlur(outside, (0, 0), 3)
    _rectangle(picture, x0 + wide / 2 - 0.02 * m, top, x0 + wide / 2 + 0.02 * m, bottom, np.full(3, 0.9))


def _frame(picture: np.ndarray, view: View, corner: int, rng: np.random.Generator) -> None:
    m = view.metre
    x, y = rng.uniform(0, 1) * view.width, corner - rng.uniform(1.2, 1.9) * m
    w, h = rng.uniform(0.25, 0.7) * m, rng.uniform(0.3, 0.7) * m
    _rectangle(picture, x, y, x + w, y + h, _colour(rng, 0.05, 0.6, 0.1))
    _rectangle(picture, x + 0.03 * m, y + 0.03 * m, x + w - 0.03 * m, y + h - 0.03 * m, np.full(3, 0.92))
    for _ in range(3):
        a, b = x + rng.uniform(0.1, 0.6) * w, y + rng.uniform(0.1, 0.6) * h
        _rectangle(picture, a, b, a + 0.3 * w, b + 0.3 * h, _object_colour(rng))


def _furniture(picture: np.ndarray, view: View, corner: int, rng: np.random.Generator) -> None:
    """A cupboard, shelf, box or sofa against the wall."""
    m = view.metre
    x, wide, tall = rng.uniform(-0.2, 0.95) * view.width, rng.uniform(0.3, 1.3) * m, rng.uniform(0.3, 1.7) * m
    base = corner + rng.uniform(0.0, 0.12) * m
    colour = _colour(rng, 0.1, 0.8, 0.25)
    _rectangle(picture, x - 0.02 * m, base - 0.03 * m, x + wide + 0.06 * m, base + 0.05 * m, colour * 0.35)
    _rectangle(picture, x, base - tall, x + wide, base, colour, rng.uniform(-0.1, 0.1))
    if tall > 0.8 * m:
        for level in np.arange(base - tall + 0.05 * m, base - 0.25 * m, 0.35 * m):
            _rectangle(picture, x + 0.03 * m, level, x + wide - 0.03 * m, level + 0.3 * m, colour * 0.5)
            left = x + 0.05 * m
            while left < x + wide - 0.1 * m:
                step = rng.uniform(0.03, 0.14) * m
                if rng.random() < 0.8:
                    top = level + rng.uniform(0.02, 0.15) * m
                    _rectangle(picture, left, top, left + step * 0.9, level + 0.3 * m, _object_colour(rng))
                left += step
    else:
        _rectangle(picture, x, base - tall, x + wide, base - tall + 0.06 * m, np.clip(colour * 1.25, 0, 1))


def _plant(picture: np.ndarray, x: float, base: float, tall: float, rng: np.random.Generator) -> None:
    green = np.array([0.2, 0.38, 0.16]) * rng.uniform(0.6, 1.4)
    for _ in range(60):
        angle, reach = rng.uniform(-1.2, 1.2), rng.uniform(0.3, 1) * tall
        tip = (x + np.sin(angle) * reach * 0.5, base - 0.25 * tall - np.cos(angle) * reach * 0.75)
        colour = green * rng.uniform(0.5, 1.4)
        middle, axes = (int(tip[0]), int(tip[1])), (max(1, int(0.10 * tall)), max(1, int(0.03 * tall)))
        turn = float(np.degrees(angle) - 90 + rng.normal(0, 25))
        cv2.ellipse(picture, middle, axes, turn, 0, 360, colour.tolist(), -1, cv2.LINE_AA)
    _rectangle(picture, x - 0.12 * tall, base - 0.25 * tall, x + 0.12 * tall, base, _colour(rng, 0.2, 0.85, 0.2), 0.2)


def _sky(view: View, rng: np.random.Generator) -> np.ndarray:
    clear = rng.random() < 0.6
    top = np.array([0.45, 0.62, 0.88]) * rng.uniform(0.8, 1.1) if clear else np.full(3, rng.uniform(0.7, 0.9))
    picture = _ramp(view.height, view.width, np.clip(top, 0, 1), np.array([0.88, 0.91, 0.94])).copy()
    cloud = np.clip(noise2(view.height, view.width, 3, rng, 4), 0, 1)[..., None]
    return picture + (0.96 - picture) * 0.7 * cloud


def _street(view: View, rng: np.random.Generator) -> np.ndarray:
    w, m = view.width, view.metre
    ground = _horizon(view, rng.uniform(4, 9))
    picture = _sky(view, rng)
    x = rng.uniform(-0.5, 0) * w
    while x < w:
        wide, tall = rng.uniform(0.8, 2.5) * m, rng.uniform(1.2, 4) * m
        colour = _colour(rng, 0.25, 0.85, 0.16)
        _rectangle(picture, x, ground - tall, x + wide, ground, colour, 0.08)
        pane, lit = rng.uniform(0.12, 0.25) * m, _colour(rng, 0.1, 0.5, 0.1)
        for a in np.arange(x + 0.5 * pane, x + wide - pane, 1.8 * pane):
            for b in np.arange(ground - tall + 0.5 * pane, ground - 0.35 * m, 2.0 * pane):
                _rectangle(picture, a, b, a + pane, b + 1.3 * pane, lit * rng.uniform(0.6, 1.8))
        if rng.random() < 0.6:
            _rectangle(picture, x, ground - 0.45 * m, x + wide, ground - 0.35 * m, _object_colour(rng))
        x += wide + rng.choice([0, rng.uniform(0, 0.4) * m])
    for _ in range(rng.integers(0, 5)):
        a, wide = rng.uniform(0, w), rng.uniform(0.05, 0.9) * m
        top = ground - rng.uniform(0.3, 1.1) * m
        _rectangle(picture, a, top, a + wide, ground + 0.05 * m, _object_colour(rng), 0.15)
    if rng.random() < 0.5:
        _trees(picture, view, ground, rng)
    _floor(picture, view, ground, rng)
    return _defocus(picture, rng.uniform(1.0, 4.5) * view.height / 400)


def _nature(view: View, rng: np.random.Generator) -> np.ndarray:
    ground = _horizon(view, rng.uniform(3, 8))
    picture = _sky(view, rng)
    far = np.array([0.35, 0.47, 0.33]) * rng.uniform(0.7, 1.2)
    edge = ground - (0.5 + 0.4 * noise2(1, view.width, 6, rng, 3)[0]) * 0.9 * view.metre
    picture[np.arange(view.height)[:, None] > edge[None]] = far
    _trees(picture, view, ground, rng)
    texture = noise2(view.height, view.width, 30, rng, 3)[..., None]
    picture *= (1 + 0.12 * texture).astype(np.float32)
    grass = np.array([0.38, 0.48, 0.22]) * rng.uniform(0.7, 1.2) if rng.random() < 0.6 else np.array([0.75, 0.68, 0.55])
    rows = picture[max(ground, 0) :]
    if len(rows):
        blades = cv2.GaussianBlur(rng.standard_normal(rows.shape[:2]).astype(np.float32), (0, 0), 1.2) * 0.35
        rows[:] = grass * (1 + blades + 0.12 * noise2(len(rows), rows.shape[1], 9, rng, 2))[..., None]
    return _defocus(picture, rng.uniform(1.0, 4.0) * view.height / 400)


def _trees(picture: np.ndarray, view: View, ground: int, rng: np.random.Generator) -> None:
    m = view.metre
    for _ in range(rng.integers(2, 7)):
        x, tall = rng.uniform(0, view.width), rng.uniform(1.2, 3.2) * m
        _rectangle(picture, x - 0.05 * m, ground - 0.5 * tall, x + 0.05 * m, ground, np.array([0.25, 0.19, 0.14]))
        green = np.array([0.22, 0.36, 0.15]) * rng.uniform(0.5, 1.5)
        for _ in range(45):
            a, b = x + rng.normal(0, 0.22) * tall, ground - 0.68 * tall + rng.normal(0, 0.16) * tall
            radius, colour = max(1, int(rng.uniform(0.03, 0.1) * tall)), green * rng.uniform(0.6, 1.5)
            cv2.circle(picture, (int(a), int(b)), radius, colour.tolist(), -1, cv2.LINE_AA)


def _defocus(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), max(sigma, 0.3))
