"""The body reduced to the points that fitting needs: BlazePose's landmarks, a few hundred samples of the surface, and the
centres of spheres that fill it.

Skinning some 700 points instead of every vertex makes a step of the optimiser some twenty times cheaper. Landmarks and
centres are treated as extra vertices: a rest position that follows the shape, and skinning weights. All are found on any
SMPL-format body from its rest shape and skinning weights.

The spheres keep body parts from passing through each other. Trunk and limbs are cut into slices, and each slice is filled with
one sphere, or with two or three beside each other where it is wider than thick. They are somewhat smaller than the body, so
that what touches, touches freely; parts that are joined to each other, and those that overlap where somebody stands at ease,
are not compared.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ag3d.core.landmarks import FACE_LANDMARKS, JOINT_PAIRS, Joint, Landmark
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body.body import PARENTS, Body
from ag3d.model.body.lbs import apply_transforms, blend_skinning_weights, forward_kinematics
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting import pose_prior
from ag3d.preprocessing.fitting.landmark_model import LANDMARK_WEIGHTS, calibration

# BlazePose's hips lie this far apart, relative to its shoulders (measured); bodies place their hip joints differently.
HIPS_TO_SHOULDERS = 0.64
# Knuckles of index finger and little finger: from the hand's joint towards the front and the back (metres, palms down).
KNUCKLE = 0.03
SHRINK = 0.85  # radius of a sphere, relative to half the thickness of its slice
MOST = 5  # slices of a part
THIN = 0.035  # half thickness (metres): what is thinner, as hands are, is cut as if it were so thick
LEAST = 12  # vertices of a slice that count
TRUNK = [
    Joint[name] for name in ["PELVIS", "SPINE1", "SPINE2", "SPINE3", "NECK", "LEFT_COLLAR", "RIGHT_COLLAR"]
]  # one part


@dataclass
class PointBody(TensorDataclass):
    """A body of P points: the 33 landmarks, the samples of the surface, the spheres' centres. Metres, in its rest frame."""

    template: Tensor  # [P, 3]
    shapedirs: Tensor  # [P, 3, 10]
    weights: Tensor  # [P, 24]
    joints: Tensor  # [24, 3]
    joint_dirs: Tensor  # [24, 3, 10]
    parents: tuple[int, ...]
    landmark_weights: Tensor  # [33]
    min_distance: Tensor  # [S,S] how far apart the spheres must be (metres)

    @property
    def surface(self) -> slice:
        """Which points are samples of the surface."""
        return slice(33, len(self.template) - len(self.min_distance))

    @property
    def centres(self) -> slice:
        """Which points are the spheres' centres."""
        return slice(len(self.template) - len(self.min_distance), len(self.template))

    def __call__(
        self, betas: Tensor, global_orient: Tensor, body_pose: Tensor, count: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posed points [B,P,3], or the first `count` of them, and joints [B,24,3], before translation.

        betas [B,10], global_orient [B,3,3] as matrices, body_pose [B,69] axis-angle.
        """
        points = self.template[:count] + torch.einsum("pci,bi->bpc", self.shapedirs[:count], betas)
        rest_joints = self.joints + torch.einsum("jci,bi->bjc", self.joint_dirs, betas)
        rotations = torch.cat([global_orient[:, None], axis_angle_to_matrix(body_pose.view(-1, 23, 3))], dim=1)
        transforms, joints = forward_kinematics(rotations, rest_joints, self.parents)
        return apply_transforms(blend_skinning_weights(self.weights[:count], transforms), points), joints


def reduce_body(body: Body, samples: int = 600, seed: int = 0) -> PointBody:
    """The landmarks of `body`, `samples` vertices spread over its surface, and spheres inside. Pose blend shapes are left
    out: they move the surface by millimetres, landmarks hardly."""
    template, shapedirs, skin = body.v_template.cpu(), body.shapedirs.cpu(), body.weights.cpu()
    regressor = body.J_regressor.cpu()
    joints, joint_dirs = regressor @ template, torch.einsum("jv,vci->jci", regressor, shapedirs)
    points, dirs, weights = _landmarks(template, shapedirs, joints, joint_dirs, skin, body.landmark_vertices.cpu())
    sampled = farthest_point_sampling(template, samples, seed)
    spheres = fill_with_spheres(template, shapedirs, skin)
    reduced = PointBody(
        torch.cat([points, template[sampled], spheres.centres]),
        torch.cat([dirs, shapedirs[sampled], spheres.dirs]),
        torch.cat([weights, skin[sampled], one_hot(spheres.joint, skin.shape[1]).to(skin)]),
        joints,
        joint_dirs,
        tuple(int(p) for p in body.parents),
        torch.tensor([LANDMARK_WEIGHTS.get(landmark, 0.0) for landmark in Landmark]),
        torch.zeros(len(spheres.radius), len(spheres.radius)),
    )
    upright, mean_shape = torch.eye(3)[None], torch.zeros(1, shapedirs.shape[2])
    at_ease, _ = reduced(mean_shape, upright, pose_prior.USUAL[None])
    return replace(reduced, min_distance=min_distances(spheres, reduced.parents, at_ease[0, reduced.centres]))


def farthest_point_sampling(points: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` points far from each other."""
    count = min(count, len(points))
    chosen = torch.empty(count, dtype=torch.long)
    chosen[0] = int(torch.randint(len(points), (1,), generator=torch.Generator().manual_seed(seed)))
    distance = torch.full((len(points),), float("inf"))
    for k in range(1, count):
        distance = torch.minimum(distance, (points - points[chosen[k - 1]]).square().sum(1))
        chosen[k] = int(distance.argmax())
    return chosen


def _landmarks(
    template: Tensor, shapedirs: Tensor, joints: Tensor, joint_dirs: Tensor, skin: Tensor, face: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rest positions [33,3], shape directions [33,3,10] and skinning weights [33,24]; unused landmarks are at the head."""
    points, dirs = joints[Joint.HEAD].repeat(33, 1), joint_dirs[Joint.HEAD].repeat(33, 1, 1)
    weights = torch.zeros(33, 24)
    weights[:, Joint.HEAD] = 1

    def put(landmark: int, position: Tensor, direction: Tensor, joint: int) -> None:
        points[landmark], dirs[landmark] = position, direction
        weights[landmark] = one_hot(torch.tensor(joint), 24)

    for landmark, vertex in zip(FACE_LANDMARKS, face.tolist(), strict=True):
        points[landmark], dirs[landmark], weights[landmark] = template[vertex], shapedirs[vertex], skin[vertex]
    for landmark, joint in JOINT_PAIRS:  # each moves with the bone above it
        put(landmark, joints[joint], joint_dirs[joint], PARENTS[joint])
    hips = [Joint.LEFT_HIP, Joint.RIGHT_HIP]
    middle, middle_dir = joints[hips].mean(0), joint_dirs[hips].mean(0)
    shoulder_width = joints[Joint.LEFT_SHOULDER, 0] - joints[Joint.RIGHT_SHOULDER, 0]
    wider = float(HIPS_TO_SHOULDERS * shoulder_width / (joints[Joint.LEFT_HIP, 0] - joints[Joint.RIGHT_HIP, 0]))
    for landmark, joint in ((Landmark.LEFT_HIP, Joint.LEFT_HIP), (Landmark.RIGHT_HIP, Joint.RIGHT_HIP)):
        position = middle + wider * (joints[joint] - middle)
        put(landmark, position, middle_dir + wider * (joint_dirs[joint] - middle_dir), Joint.PELVIS)
    for side in ("LEFT", "RIGHT"):
        ankle, foot, wrist, hand = (Joint[f"{side}_{name}"] for name in ("ANKLE", "FOOT", "WRIST", "HAND"))
        knuckle = torch.tensor([0.0, 0.0, KNUCKLE])
        put(Landmark[f"{side}_INDEX"], joints[hand] + knuckle, joint_dirs[hand], wrist)
        put(Landmark[f"{side}_PINKY"], joints[hand] - knuckle, joint_dirs[hand], wrist)
        of_foot = torch.nonzero(skin[:, ankle] + skin[:, foot] > 0.5).squeeze(1)
        for name, sign, joint in (("TOE", 1.0, foot), ("HEEL", -1.0, ankle)):
            tip = _extreme(template, of_foot, torch.tensor([0.0, -0.3, sign]))
            put(Landmark[f"{side}_{name}"], template[tip].mean(0), shapedirs[tip].mean(0), joint)
    return points + calibration().offsets, dirs, weights


def _extreme(template: Tensor, vertices: Tensor, direction: Tensor, reach: float = 0.015) -> Tensor:
    """Those of `vertices` within `reach` metres of the farthest along `direction`."""
    height = template[vertices] @ direction
    return vertices[height > height.max() - reach]


@dataclass
class Spheres:
    """S spheres in the rest pose. Metres."""

    centres: Tensor  # [S,3]
    dirs: Tensor  # [S,3,10] how they move with the shape
    joint: Tensor  # [S] the joint that each moves with
    radius: Tensor  # [S]


def fill_with_spheres(template: Tensor, shapedirs: Tensor, skin: Tensor) -> Spheres:
    """Spheres that fill the body of vertices `template` [V,3], cut by its skinning weights [V,24]."""
    part = skin.argmax(1)
    spheres: list[tuple[Tensor, Tensor, int, float]] = []
    for joint in range(skin.shape[1]):
        mine = torch.nonzero(part == joint).squeeze(1)
        if len(mine) >= LEAST:
            spheres += [
                (centre, dirs, joint, radius) for centre, dirs, radius in _fill(template[mine], shapedirs[mine])
            ]
    centres, dirs, joints, radii = zip(*spheres, strict=True)
    return Spheres(torch.stack(centres), torch.stack(dirs), torch.tensor(joints), torch.tensor(radii))


def min_distances(spheres: Spheres, parents: tuple[int, ...], at_ease: Tensor) -> Tensor:
    """How far apart [S,S] spheres must be (metres): the sum of their radii, each pair once; 0 for what may overlap.
    `at_ease` [S,3]: the centres where somebody stands at ease."""
    joined = torch.eye(len(parents), dtype=torch.bool)
    joined[torch.tensor(TRUNK)[:, None], torch.tensor(TRUNK)] = True
    for joint, parent in enumerate(parents):
        if parent >= 0:
            upper = TRUNK if parent in TRUNK else [parent]
            joined[joint, upper] = joined[upper, joint] = True
    touching = spheres.radius[:, None] + spheres.radius
    apart = ~joined[spheres.joint[:, None], spheres.joint]
    for centres in (spheres.centres, at_ease):
        apart &= torch.cdist(centres, centres) > touching
    return torch.where(apart.triu(1), touching, 0)


def _fill(vertices: Tensor, dirs: Tensor) -> list[tuple[Tensor, Tensor, float]]:
    """Centre, its directions and radius of each sphere in one part."""
    frame = torch.linalg.svd(vertices - vertices.mean(0), full_matrices=False).Vh  # the longest axis first
    along = vertices @ frame[0]
    thick = max(float(_box(vertices @ frame.T)[1].amin()), THIN)
    slices = max(1, min(MOST, math.ceil(float(along.amax() - along.amin()) / (2 * thick))))
    edges = torch.linspace(float(along.amin()), float(along.amax()) + 1e-6, slices + 1)
    spheres = []
    for low, high in itertools.pairwise(edges):
        inside = (along >= low) & (along < high)
        if int(inside.sum()) < LEAST:
            continue
        middle, half = _box(vertices[inside] @ frame.T)
        wide, thin = (1, 2) if half[1] >= half[2] else (2, 1)
        count = max(1, min(3, round(float(half[wide]) / max(float(half[thin]), THIN))))
        side = half[wide] - half[thin]
        for offset in torch.linspace(-1, 1, count) if count > 1 else (0.0,):
            centre = middle @ frame + offset * side * frame[wide]
            spheres.append((centre, dirs[inside].mean(0), SHRINK * float(half[thin])))
    return spheres


def _box(points: Tensor) -> tuple[Tensor, Tensor]:
    """Middle and half extents [3] of points [n,3]."""
    low, high = points.amin(0), points.amax(0)
    return (low + high) / 2, (high - low) / 2
