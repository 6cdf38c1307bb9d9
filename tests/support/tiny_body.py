"""A small body for tests: closed tubes along the bones of an upright T-pose, in SMPL's format and proportions."""

from __future__ import annotations

import numpy as np

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
MIDDLE = {0: (0, -0.22, 0.03), 3: (0, -0.1, 0), 6: (0, 0.03, 0), 9: (0, 0.09, 0), 12: (0, 0.3, -0.03), 15: (0, 0.39, 0)}
LEFT = {
    **{1: (0.07, -0.31, 0.02), 4: (0.1, -0.69, 0.02), 7: (0.09, -1.09, -0.02), 10: (0.12, -1.14, 0.1)},
    **{13: (0.08, 0.2, -0.02), 16: (0.17, 0.23, -0.02), 18: (0.43, 0.22, -0.03), 20: (0.68, 0.23, -0.03)},
    22: (0.76, 0.22, -0.03),
}
RIGHT_OF = {1: 2, 4: 5, 7: 8, 10: 11, 13: 14, 16: 17, 18: 19, 20: 21, 22: 23}
# tubes: (joint that moves it, start, end, radius); ends are joints or points
RADIUS = {1: 0.08, 4: 0.05, 7: 0.04, 16: 0.05, 18: 0.04, 20: 0.035, 22: 0.03, 10: 0.035, 13: 0.07}


def _tube(start: np.ndarray, end: np.ndarray, radius: float, around: int = 8, along: int = 5):
    """Vertices and outward faces of a closed tube."""
    axis = (end - start) / np.linalg.norm(end - start)
    side = np.cross(axis, [0, 0, 1] if abs(axis[2]) < 0.9 else [1, 0, 0])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    angle = np.arange(around) * 2 * np.pi / around
    ring = radius * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other)
    vertices = np.concatenate([start + t * (end - start) + ring for t in np.linspace(0, 1, along)] + [[start], [end]])
    faces = []
    for k in range(along - 1):
        for i in range(around):
            a, b = k * around + i, k * around + (i + 1) % around
            faces += [(a, b, b + around), (a, b + around, a + around)]
    first, last, top = along * around, along * around + 1, (along - 1) * around
    for i in range(around):
        faces += [(first, (i + 1) % around, i), (last, top + i, top + (i + 1) % around)]
    return vertices, np.array(faces)


def tiny_body_arrays() -> dict[str, np.ndarray]:
    """Arrays of the body file. betas[0] makes it taller, betas[1] wider."""
    joints = np.zeros((24, 3))
    for j, p in {**MIDDLE, **LEFT}.items():
        joints[j] = p
        if j in RIGHT_OF:
            joints[RIGHT_OF[j]] = np.array(p) * (-1, 1, 1)
    tubes = [(0, joints[0] - (0, 0.08, 0), joints[3], 0.13), (3, joints[3], joints[6], 0.12)]
    tubes += [(6, joints[6], joints[9], 0.13), (9, joints[9], joints[12] - (0, 0.04, 0), 0.14)]
    tubes += [(12, joints[12] - (0, 0.05, 0), joints[15], 0.05), (15, joints[15], joints[15] + (0, 0.18, 0.02), 0.09)]
    for left, right in RIGHT_OF.items():
        children = [j for j in range(24) if PARENTS[j] == left]
        for joint, sign in ((left, 1.0), (right, -1.0)):
            tip = np.array({10: (0, -0.02, 0.1), 22: (0.09, 0, 0)}.get(left, (0, 0, 0))) * (sign, 1, 1)
            ends = children if joint == left else [RIGHT_OF[j] for j in children]
            end = joints[ends[0]] if ends else joints[joint] + tip
            tubes.append((joint, joints[joint], end, RADIUS[left]))
            if left == 7:
                tubes.append((joint, joints[joint] - (0, 0.02, 0.03), joints[joint] - (0, 0.06, 0.07), 0.03))
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    for joint, start, end, radius in tubes:
        v, f = _tube(np.asarray(start, float), np.asarray(end, float), radius)
        faces.append(f + sum(map(len, vertices)))
        vertices.append(v)
        weights.append(np.eye(24)[[joint] * len(v)])
    template, skin = np.concatenate(vertices), np.concatenate(weights)
    shapedirs = np.zeros((len(template), 3, 10))
    shapedirs[:, 1, 0] = 0.04 * template[:, 1]
    shapedirs[:, 0, 1] = shapedirs[:, 2, 1] = 0.05
    shapedirs[:, (0, 2), 1] *= template[:, (0, 2)]
    homogeneous = np.c_[template, np.ones(len(template))].T  # joints as least-norm combinations of vertices
    regressor = (np.linalg.pinv(homogeneous) @ np.c_[joints, np.ones(24)].T).T
    face = joints[15] + np.array(
        [(0, 0.08, 0.1), (-0.03, 0.11, 0.09), (0.03, 0.11, 0.09), (-0.08, 0.1, 0), (0.08, 0.1, 0)]
    )
    landmarks = [int(np.linalg.norm(template - p, axis=1).argmin()) for p in face]
    return {
        "v_template": template.astype(np.float32),
        "shapedirs": shapedirs.astype(np.float32),
        "weights": skin.astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "faces": np.concatenate(faces).astype(np.int64),
        "parents": np.array(PARENTS),
        "landmarks": np.array(landmarks),
    }
