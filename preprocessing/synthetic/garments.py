"""From an outfit to layers of geometry: each a mesh, pushed outward from the body and cut at its hems."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ag3d.preprocessing.synthetic import body_regions
from ag3d.preprocessing.synthetic.meshes import Mesh, Meshes
from ag3d.preprocessing.synthetic.outfits import Fabric, Garment, Outfit

MATERIALS = ("skin", "eye", "hair", "cloth", "shoe")


@dataclass
class Layer:
    mesh: Mesh
    displacement: np.ndarray  # [V,3] metres, in the canonical frame
    field: np.ndarray | None  # [V] the surface is kept where positive; None: all of it
    material: str
    garment: Garment | None = None
    fabric: Fabric | None = None


def dress(meshes: Meshes, outfit: Outfit) -> list[Layer]:
    """All surfaces of a dressed person, skin first."""
    layers = []
    below = 0.0  # how far the clothes so far stand off the hips
    for garment in outfit.garments:
        new = _garment_layers(meshes, garment, below)
        layers += new
        if garment.kind not in ("skirt", "dress skirt"):
            below = max(below, garment.ease)
    if outfit.garments[-1].opening:  # nothing of what is worn beneath a jacket's sleeves shows
        for layer in layers:
            beneath = layer.garment is not None and layer.garment.sleeve and not layer.garment.opening
            if beneath and layer.field is not None:
                layer.field = np.minimum(layer.field, 0.19 - np.abs(layer.mesh.canonical[:, 0]))
    layers += _shoe_layers(meshes, outfit)
    layers += _hair_layers(meshes, outfit)
    if outfit.hat:
        layers += _hat_layers(meshes, outfit.hat)
    return [_skin(meshes, outfit), *layers]


def _outward(mesh: Mesh, distance: np.ndarray | float) -> np.ndarray:
    return mesh.normals * np.broadcast_to(np.asarray(distance, np.float32), len(mesh.canonical))[:, None]


def _skin(meshes: Meshes, outfit: Outfit) -> Layer:
    """The body without what clothes hide, lest it come through them."""
    p = meshes.body.canonical
    hidden = np.full(len(p), -1.0)
    for garment in outfit.garments:
        if garment.kind in ("skirt", "dress skirt"):
            below_waist = np.minimum(body_regions.WAIST - p[:, 1], p[:, 1] - garment.hem - 0.1)
            cover = np.where(np.abs(p[:, 0]) > 0.3, -1.0, below_waist)
        elif garment.sleeve:
            neck = "crew" if garment.neck == "shirt" else garment.neck
            cover = body_regions.top(p, garment.hem, garment.sleeve, neck, garment.depth)
            if garment.neck == "open":
                cover = np.minimum(cover, 0.15 - p[:, 2] * 9)
            # sleeves stand open at the end: the arm goes on a little inside
            cover = np.where(np.abs(p[:, 0]) > 0.2, cover - 0.05, cover)
        else:
            cover = body_regions.trousers(p, garment.hem)
            cover = np.where(p[:, 1] < -0.1, cover - 0.03, cover)
        hidden = np.maximum(hidden, cover)
    hidden = np.maximum(hidden, (-0.82 - p[:, 1]))
    return Layer(meshes.body, np.zeros_like(p), 0.012 - hidden, "skin")


def _garment_layers(meshes: Meshes, garment: Garment, below: float) -> list[Layer]:
    if garment.kind in ("skirt", "dress skirt"):
        return [_skirt(meshes, garment, 0.0)]
    if not garment.sleeve:
        return [_trousers(meshes, garment)]
    if garment.kind in ("jacket", "blazer", "coat"):
        return _jacket(meshes, garment, below)
    mesh = meshes.tights
    field = body_regions.top(mesh.canonical, garment.hem, garment.sleeve, garment.neck, garment.depth)
    return [Layer(mesh, _top_shape(mesh, garment, below), field, "cloth", garment)]


def _top_shape(mesh: Mesh, garment: Garment, below: float) -> np.ndarray:
    """Close at shoulders and neck, standing off at the waist and at the ends of the sleeves."""
    x, y, z = mesh.canonical.T
    tucked = garment.hem > 0.06 and not garment.opening
    ease = garment.ease * np.interp(y, [0.0, 0.3, 0.46, 0.55], [1.25, 1.1, 0.7, 0.35])
    if tucked:
        ease = np.where(np.abs(x) < 0.2, ease * np.interp(y, [0.09, 0.2], [0.45, 1.0]), ease)
    else:
        over = np.maximum(ease, (below + 0.006) * np.interp(y, [0.12, 0.2], [1.0, 0.0]))
        ease = np.where(np.abs(x) < 0.25, over, ease)
    loose = np.clip(garment.ease / 0.012, 0.3, 1.6)
    shape = _outward(mesh, ease + loose * mesh.fill)
    # below the chest loose cloth hangs; tucked in, it comes back to the waist
    hang = np.clip((garment.ease - 0.004) / 0.014, 0, 1) * (0.25 if garment.kind.startswith("dress") else 0.85)
    shape += mesh.drape * (hang * (np.interp(y, [0.09, 0.24], [0.0, 0.8]) if tucked else 1.0 + 0 * y))[:, None]
    # sleeves fall open downward
    along = np.clip((np.abs(x) - 0.2) / max(garment.sleeve - 0.2, 0.05), 0, 1) * (np.abs(x) > 0.2)
    radial = np.stack([0 * x, y - 0.442, z - 0.011], 1)
    radial /= np.maximum(np.linalg.norm(radial, axis=1, keepdims=True), 1e-3)
    fall = garment.ease * (0.9 if garment.sleeve < 0.5 else 0.35) + (0.0 if garment.opening else garment.flare)
    shape += radial * (along * fall)[:, None]
    return shape.astype(np.float32)


def _trousers(meshes: Meshes, garment: Garment) -> Layer:
    mesh = meshes.tights
    x, y, z = mesh.canonical.T
    field = body_regions.trousers(mesh.canonical, garment.hem)
    loose = np.clip(garment.ease / 0.01, 0.2, 1.5)
    ease = garment.ease * np.interp(y, [garment.hem, -0.4, -0.05, 0.1], [1.2, 1.0, 0.9, 0.6])
    shape = _outward(mesh, ease + loose * mesh.fill)
    axis = np.sign(x) * np.interp(y, [-0.82, -0.39, 0.0], [0.137, 0.137, 0.111])
    depth = np.interp(y, [-0.82, -0.39, 0.0], [-0.03, -0.008, 0.0])
    radial = np.stack([x - axis, 0 * y, z - depth], 1)
    radial /= np.maximum(np.linalg.norm(radial, axis=1, keepdims=True), 1e-3)
    ramp = np.clip((CROTCH_START - y) / (CROTCH_START - garment.hem), 0, 1) ** 0.8
    inward = np.where(radial[:, 0] * np.sign(x) < 0, 0.6, 1.0)
    shape += radial * (ramp * inward * garment.flare)[:, None]
    # cloth bridges calf and heel instead of following them
    straight = loose * 0.012 * np.interp(y, [-0.84, -0.74, -0.6, -0.5, -0.4], [1.0, 1.0, 0.4, 0.5, 0.0])
    shape += radial * straight[:, None]
    return Layer(mesh, shape.astype(np.float32), field, "cloth", garment)


CROTCH_START = -0.06


def _skirt(meshes: Meshes, garment: Garment, extra: float) -> Layer:
    mesh = meshes.skirt
    x, y, z = mesh.canonical.T
    down = np.clip(0.09 - y, 0, 1)
    centre = np.stack([0 * x, y, 0 * z + 0.0], 1)
    radial = mesh.canonical - centre
    angle = np.arctan2(x, z)
    widen = garment.flare * np.clip(down - 0.04, 0, 1)
    if garment.pleats:
        widen = widen + 0.55 * np.clip(down, 0, 0.35) * np.abs(np.sin(angle * garment.pleats / 2)) * min(
            1.0, 5 / garment.pleats
        )
    elif garment.flare > 0.1:
        waves = np.sin(angle * 5 + 1.3) + 0.6 * np.sin(angle * 8 + 0.4)
        widen = widen + 0.18 * garment.flare * np.clip(down - 0.1, 0, 1) * waves
    shape = _outward(mesh, garment.ease + extra) + radial * widen[:, None]
    field = y - garment.hem - 0.012 * np.cos(angle) * (garment.flare < 0.1)
    return Layer(mesh, shape.astype(np.float32), np.where(y > 0.2, 1.0, field), "cloth", garment)


def _jacket(meshes: Meshes, garment: Garment, below: float) -> list[Layer]:
    mesh = meshes.tights
    garment.ease = max(garment.ease, below + 0.009)
    long = garment.hem < -0.04
    p = mesh.canonical
    closed = 0.12 if garment.kind != "jacket" else 0.3
    field = body_regions.top(p, 0.06 if long else garment.hem, garment.sleeve, "open", 0.0)
    field = np.minimum(field, body_regions.front_opening(p, garment.opening, closed))
    layers = [Layer(mesh, _top_shape(mesh, garment, below), field, "cloth", garment)]
    if long:
        lower = replace(garment, flare=garment.flare + 0.06)
        layer = _skirt(meshes, lower, 0.012)
        layer.garment = garment
        q = layer.mesh.canonical
        assert layer.field is not None
        layer.field = np.minimum(
            layer.field, body_regions.front_opening(q, garment.opening + 0.12 * garment.opening, closed)
        )
        layers.append(layer)
    return layers


def _shoe_layers(meshes: Meshes, outfit: Outfit) -> list[Layer]:
    layers = [Layer(meshes.shoes, _outward(meshes.shoes, 0.004), None, "shoe", fabric=outfit.shoes)]
    if outfit.boots:
        p = meshes.tights.canonical
        field = np.where(np.abs(p[:, 0]) > 0.3, -1.0, np.minimum(-0.62 - p[:, 1], p[:, 1] + 0.87))
        field = np.minimum(field, 0.06 - p[:, 2] + 0.6 * (p[:, 1] + 0.8))
        covered = any(not g.sleeve and g.kind not in ("skirt", "dress skirt") for g in outfit.garments)
        shape = _outward(meshes.tights, 0.004 if covered else 0.009)
        layers.append(Layer(meshes.tights, shape, field, "shoe", fabric=outfit.shoes))
    return layers


def _hair_layers(meshes: Meshes, outfit: Outfit) -> list[Layer]:
    if outfit.hair == "bald":
        return []
    rng = np.random.default_rng([outfit.seed, 1])
    p = meshes.scalp.canonical
    recede = float(rng.uniform(0, 0.012) * outfit.age)
    field = body_regions.hair(p, recede)
    thicknesses = {"short": rng.uniform(0.005, 0.017), "bun": 0.009, "ponytail": 0.009}
    thick = thicknesses.get(outfit.hair, rng.uniform(0.014, 0.02))
    if outfit.hat:
        thick = min(thick, 0.008)
    lift = 0.0015 + thick * body_regions.smooth(field - 0.012, 0.03)
    if outfit.hair == "short":  # fuller on top than at the sides
        lift = lift * np.interp(p[:, 1], [0.62, 0.7, 0.76], [0.25, 0.5, 1.0]) + 0.001
    if outfit.hair in ("bob", "long"):  # what hangs lies over it
        lift = lift * np.interp(p[:, 1] + 0.5 * np.clip(p[:, 2] - 0.03, 0, None), [0.68, 0.735], [0.35, 1.0])
    layers = [Layer(meshes.scalp, _outward(meshes.scalp, lift), field, "hair")]
    if outfit.hair in ("bob", "long"):
        layers.append(_curtain(meshes, outfit, rng))
    if outfit.hair == "bun":
        radius = rng.uniform(0.035, 0.05)
        layers.append(_blob(meshes, (0.0, rng.uniform(0.73, 0.8), -0.07), (radius, radius, radius), 0.0))
    if outfit.hair == "ponytail":
        length = rng.uniform(0.1, 0.17)
        layers.append(_blob(meshes, (0.0, 0.735 - length, -0.105), (0.033, length, 0.03), 0.0))
    return layers


def _curtain(meshes: Meshes, outfit: Outfit, rng: np.random.Generator) -> Layer:
    """Hair hanging from the sides and the back of the head; below the shoulders it lies on the back."""
    mesh = meshes.curtain
    p = mesh.canonical
    angle, y = meshes.curtain_angle, p[:, 1]
    end = rng.uniform(0.56, 0.61) if outfit.hair == "bob" else rng.uniform(0.2, 0.47)
    open_angle = rng.uniform(1.85, 2.25)
    width = np.interp(y, [0.46, 0.56], [1.15, open_angle])
    edge = end + 0.012 * np.sin(angle * 17 + 1) * np.sin(angle * 7) + 0.02 * np.abs(np.sin(angle))
    field = np.minimum((width - np.abs(angle)) * 0.09, y - edge)
    ripple = 0.004 * np.sin(angle * 9 + 4 * y) + 0.003 * np.sin(angle * 23 - 7 * y)
    return Layer(
        mesh, _outward(mesh, ripple * np.interp(y, [0.6, 0.72], [1, 0.3]) + rng.uniform(0.0, 0.008)), field, "hair"
    )


def _blob(
    meshes: Meshes, centre: tuple, radii: tuple, tilt: float, material: str = "hair", fabric: Fabric | None = None
) -> Layer:
    mesh = meshes.blob
    p = mesh.canonical * np.array(radii, np.float32)
    cos, sin = np.cos(tilt), np.sin(tilt)
    p = np.stack([p[:, 0], cos * p[:, 1] - sin * p[:, 2], sin * p[:, 1] + cos * p[:, 2]], 1) + np.array(centre)
    return Layer(mesh, (p - mesh.canonical).astype(np.float32), None, material, fabric=fabric)


def _hat_layers(meshes: Meshes, hat: Garment) -> list[Layer]:
    p = meshes.scalp.canonical
    _, y, z = p.T
    rim = 0.722 + 0.12 * (z - 0.02) if hat.kind == "beanie" else 0.727 + 0.01 * np.clip(z / 0.1, 0, 1)
    field = y - rim
    lift = hat.ease + 0.012 * np.clip((y - 0.74) / 0.05, 0, 1) * (hat.kind == "beanie")
    layers = [Layer(meshes.scalp, _outward(meshes.scalp, lift), field, "cloth", hat)]
    if hat.kind == "cap":
        layers.append(_blob(meshes, (0.0, 0.738, 0.145), (0.078, 0.007, 0.075), 0.22, "cloth", hat.fabric))
    return layers
