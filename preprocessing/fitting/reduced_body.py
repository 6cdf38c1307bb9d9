"""The body reduced to the points that fitting needs: BlazePose's landmarks, a few hundred samples of the surface, and the
centres of spheres that fill it.

Skinning some 700 points instead of every vertex makes a step of the optimiser some twenty times cheaper. Landmarks and
centres are treated as extra vertices: a rest position that follows the shape, and skinning weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ag3d.model.body.lbs import apply_transforms, blend_skinning_weights, forward_kinematics
from ag3d.model.body.rotation import axis_angle_to_matrix

# BlazePose's landmarks, left and right of the subject.
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = 0, 2, 5, 7, 8
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 11, 12, 13, 14, 15, 16
LEFT_PINKY, RIGHT_PINKY, LEFT_INDEX, RIGHT_INDEX = 17, 18, 19, 20
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE = 23, 24, 25, 26, 27, 28
LEFT_HEEL, RIGHT_HEEL, LEFT_TOE, RIGHT_TOE = 29, 30, 31, 32

# Landmarks at joints of the body: (landmark, joint, the joint above, whose bone it moves with).
AT_JOINTS = (
    *((LEFT_SHOULDER, 16, 13), (RIGHT_SHOULDER, 17, 14), (LEFT_ELBOW, 18, 16), (RIGHT_ELBOW, 19, 17)),
    *((LEFT_WRIST, 20, 18), (RIGHT_WRIST, 21, 19), (LEFT_KNEE, 4, 1), (RIGHT_KNEE, 5, 2)),
    *((LEFT_ANKLE, 7, 4), (RIGHT_ANKLE, 8, 5)),
)
# BlazePose's hips lie this far apart, relative to its shoulders (measured); bodies place their hip joints differently.
HIPS_TO_SHOULDERS = 0.64
# Knuckles of index finger and little finger: from the hand's joint towards the front and the back (metres, palms down).
KNUCKLE = 0.03
# How much a landmark counts; what BlazePose does not see well, or has no place on the body, counts little or nothing.
LANDMARK_WEIGHTS = {
    **dict.fromkeys((NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR), 0.5),
    **dict.fromkeys((LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP), 1.0),
    **dict.fromkeys((LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST), 1.0),
    **dict.fromkeys((LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE), 1.0),
    **dict.fromkeys((LEFT_PINKY, RIGHT_PINKY, LEFT_INDEX, RIGHT_INDEX), 0.25),
    **dict.fromkeys((LEFT_HEEL, RIGHT_HEEL, LEFT_TOE, RIGHT_TOE), 0.5),
}


@dataclass
class PointBody:
    """A body of P points: the 33 landmarks, the samples of the surface, the spheres' centres. Metres, in its rest frame."""

    template: Tensor  # [P, 3]
    shapedirs: Tensor  # [P, 3, 10]
    weights: Tensor  # [P, 24]
    joints: Tensor  # [24, 3]
    joint_dirs: Tensor  # [24, 3, 10]
    parents: tuple[int, ...]
    landmark_weights: Tensor  # [33]
    reach: Tensor  # [S,S] how far apart the spheres must be (metres)

    def to(self, device: torch.device | str) -> PointBody:
        tensors = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return PointBody(**{**vars(self), **tensors})

    @property
    def surface(self) -> slice:
        """Which points are samples of the surface."""
        return slice(33, len(self.template) - len(self.reach))

    @property
    def centres(self) -> slice:
        """Which points are the spheres' centres."""
        return slice(len(self.template) - len(self.reach), len(self.template))

    def __call__(
        self, betas: Tensor, global_orient: Tensor, body_pose: Tensor, count: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posed points [B,P,3], or the first `count` of them, and joints [B,24,3], before translation.

        betas [B,10], global_orient [B,3,3] as matrices, body_pose [B,69] axis-angle.
        """
        points = self.template[:count] + torch.einsum("pci,bi->bpc", self.shapedirs[:count], betas)
        joints = self.joints + torch.einsum("jci,bi->bjc", self.joint_dirs, betas)
        local = torch.cat([global_orient[:, None], axis_angle_to_matrix(body_pose.view(-1, 23, 3))], dim=1)
        transforms, posed_joints = forward_kinematics(local, joints, self.parents)
        return apply_transforms(blend_skinning_weights(self.weights[:count], transforms), points), posed_joints
