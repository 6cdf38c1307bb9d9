"""What each visible point looks like before it is lit: colour, small-scale height and gloss, painted on the mean body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ag3d.preprocessing.synthetic import body_regions
from ag3d.preprocessing.synthetic.garments import Layer
from ag3d.preprocessing.synthetic.meshes import Meshes
from ag3d.preprocessing.synthetic.noise import noise3
from ag3d.preprocessing.synthetic.outfits import Fabric, Outfit
from ag3d.preprocessing.synthetic.patterns import cloth_coordinates, print_on


@dataclass
class Paint:
    """Of n points."""

    colour: torch.Tensor  # [n,3] sRGB
    height: torch.Tensor  # [n] metres, small relief for bump shading
    gloss: torch.Tensor  # [n] strength of the highlight
    skin: torch.Tensor  # [n] 1 where light scatters under the surface


def paint(points: np.ndarray, layer_index: np.ndarray, layers: list[Layer], outfit: Outfit, meshes: Meshes) -> Paint:
    """Paint visible points: canonical positions [n,3] and the layer [n] that each lies on."""
    p = torch.as_tensor(points)
    layer_of = torch.as_tensor(layer_index)
    count = len(p)
    out = Paint(torch.zeros(count, 3), torch.zeros(count), torch.zeros(count), torch.zeros(count))
    for number, layer in enumerate(layers):
        chosen = torch.nonzero(layer_of == number).squeeze(1)
        if not len(chosen):
            continue
        q = p[chosen]
        if layer.material == "skin":
            colour, height, gloss = _skin(q, outfit, meshes)
            out.skin[chosen] = 1.0
        elif layer.material == "hair":
            colour, height, gloss = _hair(q, outfit)
        elif layer.material == "shoe":
            assert layer.fabric is not None
            colour, height, gloss = _shoe(q, layer.fabric)
        else:
            fabric = layer.garment.fabric if layer.garment else layer.fabric
            assert fabric is not None
            colour, height, gloss = _cloth(q, layer, fabric, outfit.seed + number)
        out.colour[chosen], out.height[chosen], out.gloss[chosen] = colour, height, gloss
    return out


def _mix(under: torch.Tensor, over: tuple | torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return under + (torch.as_tensor(over, dtype=torch.float32) - under) * share[:, None]


def _spot(
    p: torch.Tensor, centre: tuple[float, float, float], radius: tuple[float, float, float] | float, soft: float = 1.0
) -> torch.Tensor:
    """1 at the centre, 0 outside an ellipsoid, for both sides of the body."""
    q = torch.stack([p[:, 0].abs() if centre[0] else p[:, 0], p[:, 1], p[:, 2]], 1)
    distance = ((q - torch.tensor(centre)) / torch.as_tensor(radius, dtype=torch.float32)).norm(dim=1)
    t = ((1 - distance) / soft).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _edge(field: torch.Tensor, width: float) -> torch.Tensor:
    t = (field / width + 0.5).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _skin(p: torch.Tensor, outfit: Outfit, meshes: Meshes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    base = torch.tensor(outfit.skin, dtype=torch.float32)
    count = len(p)
    fine, coarse = noise3(p, 45.0, outfit.seed)[:, None], noise3(p, 14.0, outfit.seed + 1)[:, None]
    colour = base.expand(count, 3) * (1 + 0.035 * fine + 0.03 * coarse)
    blood = torch.tensor([1.0, 0.78, 0.76])
    warm = (
        _spot(p, (0.042, 0.64, 0.10), 0.035) * 0.7
        + _spot(p, (0.0, 0.64, 0.155), 0.02) * 0.5
        + _spot(p, (0.08, 0.67, 0.03), (0.02, 0.04, 0.03)) * 0.7
    )
    warm = warm + (p[:, 0].abs() > 0.7) * 0.5 + _spot(p, (0.137, -0.39, 0.05), 0.07) * 0.4
    colour = colour * (1 + (blood - 1) * warm.clamp(0, 1)[:, None])
    gloss = torch.full((count,), 0.16)
    head = p[:, 1] > 0.55
    if bool(head.any()):
        colour[head], gloss[head] = _face(p[head], colour[head], gloss[head], outfit, meshes)
    if outfit.socks:
        sock = _edge(-0.72 - p[:, 1], 0.004) * (p[:, 0].abs() < 0.3)
        colour = _mix(colour, outfit.socks, sock)
        gloss = gloss * (1 - sock)
    return colour, torch.zeros(count), gloss


def _face(
    p: torch.Tensor, colour: torch.Tensor, gloss: torch.Tensor, outfit: Outfit, meshes: Meshes
) -> tuple[torch.Tensor, torch.Tensor]:
    x, y, z = p.unbind(1)
    side = x.abs()
    hair = torch.tensor(outfit.hair_colour, dtype=torch.float32)
    front = _edge(z - 0.09, 0.02)
    q = p.numpy()
    # shadowed sockets and lash line
    colour = colour * (1 - 0.2 * _spot(p, (0.03, 0.682, 0.125), (0.026, 0.014, 0.05)))[:, None]
    if outfit.hair not in ("bald",) or outfit.hat:
        stubble = torch.as_tensor(body_regions.smooth(body_regions.hair(q) + 0.004, 0.012)).float()
        colour = _mix(colour, hair, 0.85 * stubble)
    else:
        colour = _mix(colour, hair, 0.12 * torch.as_tensor(body_regions.smooth(body_regions.hair(q), 0.02)).float())
    if outfit.beard:
        grain = 0.75 + 0.25 * noise3(p, 400.0, outfit.seed)
        share = torch.as_tensor(body_regions.smooth(body_regions.beard(q), 0.014)).float() * outfit.beard * grain
        colour = _mix(colour, hair, share)
    # brows: an arch that thins outward
    arch = 0.697 + 0.10 * (side - 0.03) * (side < 0.036) - 0.22 * (side - 0.036).clamp_min(0)
    thick = 0.0042 - 0.06 * (side - 0.02).clamp_min(0)
    brow = _edge(thick - (y - arch).abs(), 0.004) * _edge(side - 0.012, 0.005) * _edge(0.053 - side, 0.008) * front
    colour = _mix(colour, hair * 0.8, 0.8 * brow)
    # lips: a bow above, a curve below the line of the mouth
    upper = 0.6142 - 9.0 * side**2 - 0.001 * _edge(0.004 - side, 0.006)
    lower = 0.5955 + 17.0 * side**2
    lips = _edge(torch.minimum(upper - y, y - lower), 0.0035) * _edge(0.0255 - side, 0.004) * front
    tone = torch.tensor(outfit.skin, dtype=torch.float32)
    red = tone * torch.tensor([0.92, 0.55, 0.55]) + torch.tensor([0.05, 0.0, 0.01])
    red = _mix(red[None], (0.72, 0.12, 0.16), torch.tensor([max(0.0, outfit.lips - 0.35)]))[0]
    colour = _mix(colour, red, lips * (0.35 + 0.6 * outfit.lips))
    mouth = _edge(0.0018 - (y - 0.6074 + 1.0 * side**2).abs(), 0.0022) * _edge(0.0245 - side, 0.005) * front
    colour = colour * (1 - 0.6 * mouth[:, None])
    gloss = gloss * (1 - mouth)
    nostril = _spot(p, (0.0085, 0.629, 0.145), (0.005, 0.004, 0.012))
    colour = colour * (1 - 0.5 * nostril[:, None])
    return _eyes(p, colour, gloss * (1 - 0.5 * lips), outfit, meshes)


def _eyes(
    p: torch.Tensor, colour: torch.Tensor, gloss: torch.Tensor, outfit: Outfit, meshes: Meshes
) -> tuple[torch.Tensor, torch.Tensor]:
    for number, centre in enumerate(meshes.eye_centres, start=1):
        ball = meshes.body.canonical[meshes.eyes == number]
        if not len(ball):
            continue
        radius = float(np.linalg.norm(ball - centre, axis=1).max())
        offset = p - torch.as_tensor(centre)
        distance = offset.norm(dim=1)
        on = (distance < radius * 1.01) & (offset[:, 2] > 0.4 * radius)
        from_axis = offset[:, :2].norm(dim=1)
        # the lids lie just outside the ball
        white = _edge(1.0 - distance / radius + 0.004, 0.02) * on
        eye = torch.tensor([0.90, 0.88, 0.86]).expand(len(p), 3)
        eye = _mix(eye, outfit.eyes, _edge(0.0066 - from_axis, 0.0012))
        eye = _mix(eye, (0.02, 0.02, 0.02), _edge(0.0028 - from_axis, 0.001))
        glint = (offset[:, :2] - torch.tensor([0.002, 0.0025])).norm(dim=1)
        eye = _mix(eye, (1.0, 1.0, 1.0), 0.9 * _edge(0.0013 - glint, 0.0008))
        shade = 1 - 0.35 * _edge(offset[:, 1] - 0.003, 0.006)
        colour = colour + (eye * shade[:, None] - colour) * white[:, None]
        gloss = gloss * (1 - white)
    return colour, gloss


def _hair(p: torch.Tensor, outfit: Outfit) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    base = torch.tensor(outfit.hair_colour, dtype=torch.float32)
    # strands run down (and back over the crown): fine across, long along
    turn = torch.atan2(p[:, 0], -(p[:, 2] - 0.03)) * 0.09
    strand = torch.stack([turn, p[:, 1], p[:, 2] * 0.2], 1)
    fine = noise3(strand, (420.0, 12.0, 12.0), outfit.seed)
    lock = noise3(strand, (90.0, 9.0, 9.0), outfit.seed + 1)
    colour = base * (1 + 0.17 * fine + 0.15 * lock)[:, None].clamp_min(0.2)
    return colour, 0.0011 * lock + 0.0003 * fine, torch.full((len(p),), 0.17)


def _shoe(p: torch.Tensor, fabric: Fabric) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sole = _edge(-0.878 - p[:, 1] - 0.05 * (0.02 - p[:, 2]).clamp(0, 0.1), 0.002)
    colour = _mix(torch.tensor(fabric.colour).float().expand(len(p), 3), fabric.second, sole)
    lace = torch.sin(p[:, 2] * 500) * _spot(p, (0.145, -0.82, 0.06), (0.018, 0.06, 0.05), 0.3)
    if fabric.gloss < 0.2:
        colour = _mix(colour, fabric.second, (lace > 0.3) * 0.6)
    seam = _edge(0.0012 - (p[:, 2] - 0.11 + 3 * (p[:, 0].abs() - 0.145) ** 2).abs(), 0.002)
    gloss = torch.full((len(p),), fabric.gloss) * (1 - sole)
    return colour * (1 - 0.3 * seam)[:, None], 0.0004 * noise3(p, 60.0, 3), gloss


def _cloth(p: torch.Tensor, layer: Layer, fabric: Fabric, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    u, v = cloth_coordinates(p, skirt="skirt" in (layer.garment.kind if layer.garment else ""))
    colour = print_on(p, u, v, fabric, seed)
    height = _folds(p, layer, seed)
    if fabric.texture == "knit":
        height = height + 0.0004 * torch.sin(u * 900) * torch.sin(v * 700 + 2 * torch.sin(u * 900))
        colour = colour * (1 + 0.06 * torch.sin(u * 900))[:, None]
    elif fabric.texture == "denim":
        grain = noise3(torch.stack([u, v, 0 * u], 1), (700.0, 250.0, 1.0), seed)
        thigh, knee = ((0.125, -0.2, 0.08), (0.05, 0.16, 0.09)), ((0.137, -0.39, 0.05), (0.05, 0.06, 0.06))
        worn = (_spot(p, *thigh) + 0.6 * _spot(p, *knee)) * 0.35 * (0.8 + 0.3 * noise3(p, 25.0, seed))
        colour = _mix(colour * (1 + 0.09 * grain)[:, None], fabric.second, worn)
    if layer.garment is not None:
        colour = _trims(p, layer, colour)
    return colour, height, torch.full((len(p),), fabric.gloss)


def _folds(p: torch.Tensor, layer: Layer, seed: int) -> torch.Tensor:
    """Wrinkles across at bends and where cloth gathers; long ones down skirts and wide legs. Metres."""
    garment = layer.garment
    if garment is None:
        return torch.zeros(len(p))
    x, y, _ = p.unbind(1)
    side = x.abs()
    arm = (side > 0.2) & (y > 0.25)
    tube = torch.where(arm, side, y)
    elbow = torch.exp(-(((side - 0.43) / 0.07) ** 2)) * arm + 0.7 * torch.exp(-(((side - 0.22) / 0.05) ** 2)) * (
        y > 0.25
    )
    cuff = torch.exp(-(((side - garment.sleeve) / 0.05) ** 2)) * arm * (garment.sleeve > 0.5)
    waist = torch.exp(-(((y - 0.14) / 0.07) ** 2)) * ~arm
    knee = torch.exp(-(((y + 0.4) / 0.09) ** 2)) + torch.exp(-(((y + 0.06) / 0.05) ** 2))
    long = not garment.sleeve and garment.hem < -0.6
    ankle = 1.2 * torch.exp(-(((y - garment.hem) / 0.07) ** 2)) if long else 0.0 * y
    skirt = "skirt" in garment.kind
    weight = (
        0.3 * torch.ones_like(y)
        if skirt
        else 0.25 + elbow + cuff + 0.8 * waist + (0.0 if garment.sleeve else 1.0) * (knee + ankle)
    )
    across = noise3(
        torch.stack([torch.where(arm, tube, x), torch.where(arm, p[:, 1], tube), p[:, 2]], 1), (16.0, 34.0, 16.0), seed
    )
    along_arm = noise3(p, (34.0, 18.0, 18.0), seed + 7)
    wrinkles = torch.where(arm, along_arm, across)
    wrinkles = 1 - 2 * wrinkles.abs()  # ridges
    long_folds = noise3(p, (22.0, 3.5, 22.0), seed + 3)
    hanging = ((0.05 - y) / 0.5).clamp(0, 1) if skirt else (0.25 + 0 * y) * ~arm
    height = 0.0032 * weight.clamp_max(1.4) * wrinkles + (0.009 if skirt else 0.006) * hanging * long_folds
    return garment.folds * height


def _trims(p: torch.Tensor, layer: Layer, colour: torch.Tensor) -> torch.Tensor:
    """Hems, waistbands, belts, button rows and lapels: lines where cloth is doubled or sewn."""
    garment = layer.garment
    assert garment is not None
    x, y, z = p.unbind(1)
    side = x.abs()
    dark = torch.zeros(len(p))
    arm = (side > 0.2) & (y > 0.25)
    if garment.sleeve:
        dark = dark + _edge(0.0011 - (side - garment.sleeve + 0.02).abs(), 0.0012) * arm
        collar = torch.as_tensor(body_regions.neckline(p.numpy(), garment.neck, garment.depth)).float()
        dark = dark + _edge(0.0011 - (collar - 0.018).abs(), 0.0012) * ~arm
    if "skirt" not in garment.kind:
        dark = dark + _edge(0.0011 - (y - garment.hem - 0.02).abs(), 0.0012) * ~arm
    if not garment.sleeve and "skirt" not in garment.kind:
        dark = dark + _edge(0.001 - (y - 0.068).abs(), 0.0012)
        dark = dark + 0.8 * _edge(0.001 - (x - 0.003).abs(), 0.0012) * (z > 0) * (y < 0.068) * (y > -0.04)
        dark = dark + 0.7 * _edge(0.001 - (z + 0.01).abs(), 0.0014) * (y < 0.06)
    if garment.neck == "shirt":
        dark = dark + 0.7 * _edge(0.001 - (x - 0.012).abs(), 0.0012) * (z > 0)
        button = ((x**2 + (torch.remainder(y, 0.075) - 0.037) ** 2).sqrt()) * 1.0
        colour = _mix(
            colour,
            (0.93, 0.92, 0.9) if sum(garment.fabric.colour) < 1.8 else (0.25, 0.24, 0.23),
            _edge(0.0042 - button, 0.0012) * (z > 0) * ~arm,
        )
    if garment.kind in ("blazer", "coat"):
        lapel = torch.as_tensor(body_regions.front_opening(p.numpy(), garment.opening, 0.12)).float()
        dark = dark + _edge(0.0016 - (lapel - 0.035).abs(), 0.002) * (z > 0) * (y > 0.13)
    return colour * (1 - 0.4 * dark.clamp(0, 1))[:, None]
