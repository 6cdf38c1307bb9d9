"""Who is photographed: shape, skin, hair and what they wear, drawn at random."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field

import numpy as np

Colour = tuple[float, float, float]  # sRGB in 0…1

SKIN = np.array(  # sRGB, light to dark
    [
        [0.96, 0.82, 0.73],
        [0.92, 0.75, 0.63],
        [0.85, 0.66, 0.52],
        [0.74, 0.55, 0.41],
        [0.60, 0.42, 0.30],
        [0.44, 0.29, 0.21],
        [0.31, 0.20, 0.15],
    ]
)
HAIR = {
    "black": (0.07, 0.06, 0.06),
    "dark brown": (0.16, 0.10, 0.07),
    "brown": (0.29, 0.18, 0.11),
    "auburn": (0.38, 0.17, 0.09),
    "blond": (0.68, 0.52, 0.32),
    "grey": (0.62, 0.61, 0.60),
}
EYES = ((0.25, 0.15, 0.08), (0.22, 0.32, 0.45), (0.25, 0.32, 0.2), (0.12, 0.08, 0.05))
# What people wear and how they do their hair, with how often: men, women.
STYLES = {"trousers": (0.62, 0.42), "shorts": (0.18, 0.1), "skirt": (0.12, 0.24), "dress": (0.08, 0.24)}
HAIRCUTS = {
    **{"bald": (0.1, 0.01), "short": (0.74, 0.16), "bob": (0.06, 0.22)},
    **{"long": (0.04, 0.33), "bun": (0.03, 0.16), "ponytail": (0.03, 0.12)},
}
PRINTS = {"plain": 0.5, "stripes": 0.12, "checks": 0.09, "dots": 0.06, "mottled": 0.09, "flowers": 0.07, "logo": 0.07}


@dataclass
class Fabric:
    colour: Colour  # sRGB
    second: Colour
    pattern: str = "plain"
    scale: float = 0.03  # metres between repeats
    gloss: float = 0.05
    texture: str = "smooth"  # smooth, knit, denim
    phase: float = 0.0


@dataclass
class Garment:
    """A piece of clothing; which numbers matter depends on the kind (metres in the canonical frame)."""

    kind: str
    fabric: Fabric
    hem: float = 0.0  # height of the lower edge
    sleeve: float = 0.0  # |x| where sleeves end
    neck: str = "crew"  # crew, v, scoop, turtle, shirt
    depth: float = 0.0  # of the neckline
    ease: float = 0.01  # distance from the body
    flare: float = 0.0  # widening towards the hem
    pleats: int = 0
    folds: float = 1.0
    opening: float = 0.0  # of a jacket's front


@dataclass
class Outfit:
    betas: np.ndarray  # [10]
    skin: Colour
    lips: float
    age: float
    eyes: Colour
    hair: str
    hair_colour: Colour
    hair_name: str
    beard: float
    hat: Garment | None
    garments: list[Garment]
    shoes: Fabric
    boots: bool
    socks: Colour | None
    seed: int
    attributes: dict[str, str] = field(default_factory=dict)


def sample_outfit(rng: np.random.Generator, shape: np.ndarray, femininity: float) -> Outfit:
    """Dress a person of `shape` (betas). `femininity` in 0…1 (from proportions) sways hair, beards and skirts only."""
    skin = _skin(rng)
    style = _pick(rng, list(STYLES), _mix(STYLES, femininity))
    garments = _dress(rng) if style == "dress" else [*_bottom(rng, style), _top(rng, femininity)]
    if style == "skirt":
        garments[-1].hem = 0.085  # tucked in
    outer = rng.random() < 0.3
    if outer:
        garments.append(_jacket(rng, style))
        if style in ("skirt", "dress"):
            garments[-1].hem = min(garments[-1].hem, -0.12) if garments[-1].hem < -0.04 else 0.085
    hair = _pick(rng, list(HAIRCUTS), _mix(HAIRCUTS, femininity))
    dark = 0.3 if skin[0] > 0.75 else 0.75
    hair_share = np.array([0.2 + dark, 0.3, 0.28, 0.1, 0.16 * (1 - dark), 0.1]) / (1.14 + dark - 0.16 * dark)
    hair_name = _pick(rng, list(HAIR), hair_share)
    hat = _hat(rng) if rng.random() < 0.12 and hair != "bun" else None
    age = rng.beta(1.3, 2.2)
    boots = style != "shorts" and rng.random() < 0.25
    outfit = Outfit(
        betas=shape,
        skin=skin,
        lips=float(rng.uniform(0.1, 0.5) + 0.45 * femininity * rng.random()),
        age=age,
        eyes=EYES[rng.integers(len(EYES))],
        hair=hair,
        hair_colour=_jitter(rng, HAIR[hair_name], 0.12),
        hair_name=hair_name,
        beard=rng.uniform(0.2, 0.95) if rng.random() < 0.35 * (1 - femininity) ** 2 else 0.0,
        hat=hat,
        garments=garments,
        shoes=_shoes(rng, boots),
        boots=boots,
        socks=_colour(rng) if style in ("shorts", "skirt", "dress") and rng.random() < 0.35 else None,
        seed=int(rng.integers(1 << 30)),
    )
    outfit.attributes = {
        "style": style,
        "outer": garments[-1].kind if outer else "none",
        "garments": " ".join(g.kind for g in garments),
        "patterns": " ".join(g.fabric.pattern for g in garments),
        "hair": hair,
        "hair_colour": hair_name,
        "hat": hat.kind if hat else "none",
        "skin": f"{int(np.argmin(np.abs(SKIN[:, 0] - skin[0])))}",
        "shoes": "boots" if boots else "shoes",
    }
    return outfit


def _pick(rng: np.random.Generator, options: list[str], p: np.ndarray | list[float] | None = None) -> str:
    return str(rng.choice(options, p=p))


def _mix(shares: dict[str, tuple[float, float]], femininity: float) -> np.ndarray:
    first, second = np.array(list(shares.values())).T
    mixed = first * (1 - femininity) + second * femininity
    return mixed / mixed.sum()


def _skin(rng: np.random.Generator) -> Colour:
    position = rng.uniform(0, len(SKIN) - 1.001)
    low = int(position)
    return _jitter(rng, SKIN[low] + (position - low) * (SKIN[low + 1] - SKIN[low]), 0.03)


def _jitter(rng: np.random.Generator, colour: np.ndarray | Colour, amount: float) -> Colour:
    factor = np.exp(rng.normal(0, amount)) * np.exp(rng.normal(0, amount / 4, 3))
    red, green, blue = np.clip(np.array(colour) * factor, 0.01, 0.98)
    return float(red), float(green), float(blue)


def _colour(rng: np.random.Generator) -> Colour:
    """Clothes are mostly black, white, grey, navy, beige; now and then a strong colour."""
    choice = rng.random()
    if choice < 0.16:
        base = np.full(3, rng.uniform(0.04, 0.16))
    elif choice < 0.32:
        base = np.array([0.93, 0.92, 0.9]) * rng.uniform(0.9, 1.0)
    elif choice < 0.44:
        base = np.full(3, rng.uniform(0.25, 0.7))
    elif choice < 0.56:
        base = np.array([0.12, 0.17, 0.32]) * rng.uniform(0.6, 1.6)
    elif choice < 0.68:
        base = np.array([0.78, 0.68, 0.54]) * rng.uniform(0.6, 1.15)
    else:
        base = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.85), rng.uniform(0.3, 0.9)))
    return _jitter(rng, base, 0.06)


def _fabric(rng: np.random.Generator, patterns: dict[str, float] = PRINTS, gloss: float = 0.05) -> Fabric:
    weights = np.array(list(patterns.values()))
    first = _colour(rng)
    second = _colour(rng)
    for _ in range(8):
        if np.abs(np.array(first) - second).sum() > 0.5:
            break
        second = _colour(rng)
    pattern = _pick(rng, list(patterns), weights / weights.sum())
    scale = float(np.exp(rng.uniform(np.log(0.018), np.log(0.07))))
    gloss *= rng.uniform(0.5, 2)
    return Fabric(first, second, pattern, scale, gloss, _pick(rng, ["smooth", "knit"], [0.75, 0.25]), rng.random())


def _denim(rng: np.random.Generator) -> Fabric:
    shade = rng.uniform(0.5, 1.9)
    base = np.clip(np.array([0.15, 0.22, 0.36]) * shade, 0, 0.9)
    if rng.random() < 0.25:
        base = np.full(3, rng.uniform(0.06, 0.25))
    colour = _jitter(rng, base, 0.05)
    worn = _jitter(rng, np.clip(np.array(colour) * 1.8 + 0.1, 0, 1), 0.02)
    return Fabric(colour, worn, "plain", 0.03, 0.03, "denim", rng.random())


def _top(rng: np.random.Generator, femininity: float) -> Garment:
    kind = _pick(rng, ["tshirt", "longsleeve", "blouse", "sweater", "tanktop"], [0.38, 0.22, 0.16, 0.17, 0.07])
    sleeves = {"tshirt": rng.uniform(0.27, 0.4), "tanktop": 0.172}
    sleeve = float(sleeves.get(kind, rng.choice([rng.uniform(0.46, 0.56), 0.645], p=[0.2, 0.8])))
    necks = [0, 0.3, 0.7, 0] if kind == "tanktop" else [0.5, 0.2, 0.2, 0.1]
    neck = _pick(rng, ["crew", "v", "scoop", "turtle"], necks)
    tucked = rng.random() < 0.25
    eases = {"tshirt": rng.uniform(0.007, 0.018), "tanktop": 0.006, "sweater": rng.uniform(0.015, 0.026)}
    ease = eases.get(kind, rng.uniform(0.007, 0.016))
    fabric = _fabric(rng)
    fabric.texture = "knit" if kind == "sweater" else "smooth"
    if kind == "blouse":
        neck, fabric.pattern = "shirt", "plain" if fabric.pattern == "logo" else fabric.pattern
    hem, depth = 0.09 if tucked else rng.uniform(-0.055, 0.03), rng.uniform(0.03, 0.09)
    flare, folds = rng.uniform(0, 0.012), rng.uniform(0.6, 1.4)
    return Garment(kind, fabric, hem, sleeve, neck, depth, ease, flare, folds=folds)


def _bottom(rng: np.random.Generator, style: str) -> list[Garment]:
    if style == "trousers":
        kind = _pick(rng, ["jeans", "trousers", "wide trousers", "leggings"], [0.4, 0.3, 0.2, 0.1])
        fabric = _denim(rng) if kind == "jeans" else _fabric(rng, {"plain": 0.9, "stripes": 0.04, "checks": 0.06})
        ease = {"jeans": rng.uniform(0.006, 0.014), "leggings": 0.003}.get(kind, rng.uniform(0.008, 0.018))
        flare = {"wide trousers": rng.uniform(0.03, 0.06), "trousers": rng.uniform(0.005, 0.02)}.get(kind, 0.0)
        hem = -0.845 if flare > 0.02 else rng.uniform(-0.83, -0.76)
        folds = 0.3 if kind == "leggings" else rng.uniform(0.7, 1.3)
        return [Garment(kind, fabric, hem, ease=ease, flare=flare, folds=folds)]
    if style == "shorts":
        patterns = {"plain": 0.75, "stripes": 0.1, "checks": 0.1, "flowers": 0.05}
        fabric = _denim(rng) if rng.random() < 0.4 else _fabric(rng, patterns)
        hem, ease, flare = rng.uniform(-0.4, -0.2), rng.uniform(0.008, 0.016), rng.uniform(0.01, 0.05)
        return [Garment("shorts", fabric, hem, ease=ease, flare=flare)]
    return [_skirt(rng, _fabric(rng, {"plain": 0.6, "stripes": 0.08, "checks": 0.12, "dots": 0.08, "flowers": 0.12}))]


def _skirt(rng: np.random.Generator, fabric: Fabric) -> Garment:
    hems = ((-0.32, -0.24), (-0.46, -0.36), (-0.62, -0.52), (-0.76, -0.68))
    hem = float(rng.choice([rng.uniform(*hem) for hem in hems]))
    pleats = int(rng.integers(9, 26)) if rng.random() < 0.45 else 0
    ease = rng.uniform(0.006, 0.012)
    flare = float(rng.choice([rng.uniform(-0.04, 0.05), rng.uniform(0.15, 0.4)]))
    return Garment("skirt", fabric, hem, ease=ease, flare=flare, pleats=pleats, folds=rng.uniform(0.5, 1.2))


def _dress(rng: np.random.Generator) -> list[Garment]:
    fabric = _fabric(rng, {"plain": 0.5, "stripes": 0.1, "dots": 0.14, "flowers": 0.2, "mottled": 0.06})
    skirt = _skirt(rng, fabric)
    skirt.kind = "dress skirt"
    sleeve = float(rng.choice([0.165, rng.uniform(0.25, 0.35), 0.64], p=[0.4, 0.35, 0.25]))
    neck, depth = _pick(rng, ["crew", "v", "scoop"]), rng.uniform(0.03, 0.08)
    return [skirt, Garment("dress top", fabric, 0.07, sleeve, neck, depth, skirt.ease, folds=skirt.folds)]


def _jacket(rng: np.random.Generator, style: str) -> Garment:
    kind = _pick(rng, ["jacket", "blazer", "coat"], [0.4, 0.35, 0.25])
    denim = kind == "jacket" and rng.random() < 0.4
    fabric = _denim(rng) if denim else _fabric(rng, {"plain": 0.88, "checks": 0.12}, 0.04)
    fabric.texture = "denim" if denim else "smooth"
    hems = {"jacket": (-0.02, 0.06), "blazer": (-0.12, -0.08), "coat": (-0.5, -0.25)}
    hem = {name: rng.uniform(*hem) for name, hem in hems.items()}[kind]
    ease, flare, folds, opening = (rng.uniform(*b) for b in ((0.02, 0.03), (0.0, 0.15), (0.5, 1.0), (0.004, 0.06)))
    return Garment(kind, fabric, hem, 0.64, "open", ease=ease, flare=flare, folds=folds, opening=opening)


def _hat(rng: np.random.Generator) -> Garment:
    kind = _pick(rng, ["beanie", "cap"])
    fabric = _fabric(rng, {"plain": 0.8, "stripes": 0.2})
    fabric.texture = "knit" if kind == "beanie" else "smooth"
    return Garment(kind, fabric, ease=0.02 if kind == "beanie" else 0.018)


def _shoes(rng: np.random.Generator, boots: bool) -> Fabric:
    dark = rng.random() < 0.5 or boots
    leather = (0.09, 0.08, 0.08) if dark and rng.random() < 0.6 else (0.35, 0.2, 0.12)
    colour = _jitter(rng, leather if dark else _colour(rng), 0.1)
    sole = (0.9, 0.89, 0.86) if not boots and rng.random() < 0.6 else (0.1, 0.09, 0.08)
    return Fabric(colour, sole, "plain", 0.03, 0.3 if dark else 0.12, "smooth", rng.random())
