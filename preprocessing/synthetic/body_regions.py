"""Where clothes, hair and skin begin and end, as smooth functions of position in the canonical frame (positive: inside).

Heights, widths in metres on the mean body: neck 0.54, shoulders |x| 0.18, elbows 0.43, wrists 0.66, waist 0.1, crotch
-0.07, knees -0.39, ankles -0.82; the face looks along +z.
"""

from __future__ import annotations

import numpy as np

WAIST = 0.105
CROTCH = -0.075


def neckline(p: np.ndarray, kind: str, depth: float) -> np.ndarray:
    """About the distance outward from the edge of a collar or neckline."""
    x, y, z = p.T
    if kind == "turtle":
        return np.where(np.abs(x) > 0.12, 1.0, 0.572 - 0.3 * z - y)
    around = np.hypot(x, 0.9 * (z - 0.005)) + 0.9 * (0.5 - y - 0.35 * np.minimum(z, 0))
    front = np.clip(z / 0.07, 0, 1)
    if kind == "v":
        return around - 0.078 - front * np.clip(0.02 + 1.6 * depth - 1.5 * np.abs(x), 0, None)
    if kind == "scoop":
        return around - 0.076 - (0.15 + 1.2 * front) * depth * np.clip(1.4 - (x / 0.075) ** 2, 0, 1)
    if kind == "shirt":
        return around - 0.068 - front * np.clip(0.06 - 1.1 * np.abs(x), 0, None)
    return around - (0.066 if kind == "open" else 0.076)


def top(p: np.ndarray, hem: float, sleeve: float, neck: str, depth: float) -> np.ndarray:
    x, y, _ = p.T
    # below the armpit the torso is covered whatever the sleeves
    arm = sleeve - np.abs(x) + 1.5 * np.clip(0.36 - y, 0, None)
    if sleeve < 0.18:  # straps narrow towards the shoulder
        arm = arm - 0.3 * np.clip(y - 0.42, 0, 0.08)
    return np.minimum.reduce([arm, neckline(p, neck, depth), y - hem])


def front_opening(p: np.ndarray, gap: float, closed_below: float) -> np.ndarray:
    """A jacket's front: a V above `closed_below`, a slit of half-width `gap` beneath; behind, far inside."""
    x, y, z = p.T
    width = gap + 0.24 * np.clip(y - closed_below, 0, 0.4)
    return np.where(z > 0.0, np.abs(x) - np.minimum(width, 0.075 + 0 * y), 1.0)


def trousers(p: np.ndarray, hem: float, waist: float = WAIST) -> np.ndarray:
    x, y, _ = p.T
    return np.where(np.abs(x) > 0.3, -1.0, np.minimum(waist - y, y - hem))


def hair(p: np.ndarray, recede: float = 0.0) -> np.ndarray:
    """The hairline: forehead, temples, sideburns, above the ears, nape."""
    x, y, z = p.T
    front = np.interp(
        y,
        [0.60, 0.66, 0.69, 0.715, 0.735, 0.75, 0.77],
        [0.05, 0.058, 0.062, 0.07, 0.085, 0.118 - recede, 0.16 - 3 * recede],
    )
    front = front + 0.35 * recede * np.cos(x * 45)
    lower = np.interp(
        z, [-0.04, -0.01, 0.005, 0.02, 0.045, 0.052, 0.065], [0.598, 0.625, 0.66, 0.692, 0.695, 0.665, 0.655]
    )
    return np.minimum(front - z, y - lower)


def beard(p: np.ndarray) -> np.ndarray:
    """Cheeks below a line from the ear to the lip, chin and upper lip; not the lips."""
    x, y, z = p.T
    x = np.abs(x)
    edge = np.interp(x, [0.0, 0.018, 0.035, 0.055, 0.075], [0.624, 0.622, 0.618, 0.635, 0.66])
    field = np.minimum(edge - y, y - 0.555 - 0.12 * np.clip(0.11 - z, 0, 1))
    return np.minimum(field, z - 0.045)


def smooth(field: np.ndarray, width: float) -> np.ndarray:
    """0 outside, 1 inside, with a soft edge of `width` metres."""
    t = np.clip(field / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)
