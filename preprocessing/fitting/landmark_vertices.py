"""Where BlazePose's landmarks lie on any SMPL-format body, found from its rest shape and skinning weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ag3d.model.body.body import Body
from ag3d.preprocessing.fitting import pose_prior, self_intersection
from ag3d.preprocessing.fitting import reduced_body as P
from ag3d.preprocessing.fitting.landmark_calibration import OFFSETS

PELVIS, LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER = 0, 1, 2, 16
# (ankle, foot, wrist, hand, sign of x) of the left and the right side
SIDES = ((7, 10, 20, 22, 1.0), (8, 11, 21, 23, -1.0))


def reduce_body(body: Body, samples: int = 600, seed: int = 0) -> P.PointBody:
    """The landmarks of `body`, `samples` vertices spread over its surface, and spheres inside. Pose blend shapes are left
    out: they move the surface by millimetres, landmarks hardly."""
    template, shapedirs, skin = body.v_template.cpu(), body.shapedirs.cpu(), body.weights.cpu()
    regressor = body.J_regressor.cpu()
    joints = regressor @ template
    joint_dirs = torch.einsum("jv,vci->jci", regressor, shapedirs)
    points, dirs, weights = _landmarks(template, shapedirs, joints, joint_dirs, skin, body.landmark_vertices.cpu())
    chosen = spread(template, samples, seed)
    importance = torch.tensor([P.LANDMARK_WEIGHTS.get(index, 0.0) for index in range(33)])
    inner = self_intersection.spheres(template, shapedirs, skin)
    reduced = P.PointBody(
        torch.cat([points, template[chosen], inner.centres]),
        torch.cat([dirs, shapedirs[chosen], inner.dirs]),
        torch.cat([weights, skin[chosen], torch.nn.functional.one_hot(inner.joint, skin.shape[1]).to(skin)]),
        joints,
        joint_dirs,
        tuple(int(p) for p in body.parents),
        importance,
        torch.zeros(len(inner.radius), len(inner.radius)),
    )
    upright, none = torch.eye(3)[None], torch.zeros(1, shapedirs.shape[2])
    at_ease, _ = reduced(none, upright, pose_prior.USUAL[None])
    return replace(reduced, reach=self_intersection.reaches(inner, reduced.parents, at_ease[0, reduced.centres]))


def spread(points: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` points far from each other (farthest-point sampling)."""
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
    points, dirs = joints[15].repeat(33, 1), joint_dirs[15].repeat(33, 1, 1)
    weights = torch.zeros(33, 24)
    weights[:, 15] = 1

    def put(landmark: int, position: Tensor, direction: Tensor, joint: int) -> None:
        points[landmark], dirs[landmark] = position, direction
        weights[landmark] = torch.nn.functional.one_hot(torch.tensor(joint), 24)

    for landmark, vertex in zip((P.NOSE, P.RIGHT_EYE, P.LEFT_EYE, P.RIGHT_EAR, P.LEFT_EAR), face.tolist(), strict=True):
        points[landmark], dirs[landmark], weights[landmark] = template[vertex], shapedirs[vertex], skin[vertex]
    for landmark, joint, moves_with in P.AT_JOINTS:
        put(landmark, joints[joint], joint_dirs[joint], moves_with)
    middle, middle_dir = joints[[LEFT_HIP, RIGHT_HIP]].mean(0), joint_dirs[[LEFT_HIP, RIGHT_HIP]].mean(0)
    shoulders, hips = (joints[left, 0] - joints[left + 1, 0] for left in (LEFT_SHOULDER, LEFT_HIP))
    wider = float(P.HIPS_TO_SHOULDERS * shoulders / hips)
    for landmark, joint in ((P.LEFT_HIP, LEFT_HIP), (P.RIGHT_HIP, RIGHT_HIP)):
        place = middle + wider * (joints[joint] - middle)
        put(landmark, place, middle_dir + wider * (joint_dirs[joint] - middle_dir), PELVIS)
    for side, (ankle, foot, wrist, hand, _) in enumerate(SIDES):
        knuckle = torch.tensor([0.0, 0.0, P.KNUCKLE])
        put(P.LEFT_INDEX + side, joints[hand] + knuckle, joint_dirs[hand], wrist)
        put(P.LEFT_PINKY + side, joints[hand] - knuckle, joint_dirs[hand], wrist)
        of_foot = torch.nonzero(skin[:, ankle] + skin[:, foot] > 0.5).squeeze(1)
        for landmark, sign, joint in ((P.LEFT_TOE + side, 1.0, foot), (P.LEFT_HEEL + side, -1.0, ankle)):
            tip = _extreme(template, of_foot, torch.tensor([0.0, -0.3, sign]))
            put(landmark, template[tip].mean(0), shapedirs[tip].mean(0), joint)
    return points + OFFSETS, dirs, weights


def _extreme(template: Tensor, vertices: Tensor, direction: Tensor, reach: float = 0.015) -> Tensor:
    """Those of `vertices` within `reach` metres of the farthest along `direction`."""
    height = template[vertices] @ direction
    return vertices[height > height.max() - reach]
