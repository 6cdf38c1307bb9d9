"""A body of SMPL's kind: shape blend, joints, linear blend skinning (Loper et al. 2015)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ag3d.core.landmarks import Joint
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body import label as labels
from ag3d.model.body.lbs import apply_transforms, blend_skinning_weights, forward_kinematics
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.model.body.smpl_file import PARENTS as PARENTS
from ag3d.model.body.smpl_file import read_body_file

JOINTS = [joint.name.lower() for joint in Joint]
# nose, right eye, left eye, right ear, left ear on SMPL's own mesh of 6,890 vertices
SMPL_LANDMARKS = (332, 6260, 2800, 4071, 583)


class BodyOutput(NamedTuple):
    """Posed bodies, in metres of the label's world."""

    vertices: Tensor  # [B,V,3]
    joints: Tensor  # [B,24,3]
    landmarks: Tensor  # [B,5,3] nose, right eye, left eye, right ear, left ear
    transforms: Tensor  # [B,24,4,4] from the zero pose (of the same betas) to the posed body


@dataclass(eq=False)
class Body(TensorDataclass):
    """The model's tensors. The zero pose is a T: y up, front +z, the subject's left +x, metres. V is never assumed."""

    v_template: Tensor  # [V,3]
    shapedirs: Tensor  # [V,3,10]
    posedirs: Tensor | None  # [207,V*3]; None where there is no pose correction
    J_regressor: Tensor  # [24,V]
    weights: Tensor  # [V,24]
    faces: Tensor  # [F,3] int64
    landmark_vertices: Tensor  # [5] int64
    parents: tuple[int, ...] = PARENTS
    name: str = ""

    def __post_init__(self) -> None:
        # Joints are linear in betas: with this, no vertex need be shaped to know them.
        self._joint_template = self.J_regressor @ self.v_template
        self._joint_shapedirs = torch.einsum("jv,vcs->jcs", self.J_regressor, self.shapedirs)
        self._shape_basis = self.shapedirs.flatten(0, 1).t().contiguous()  # [10,V·3]

    @staticmethod
    def load(path: str | Path, device: torch.device | str = "cpu") -> Body:
        """Read the open body (.npz), or an SMPL file (.npz, or .pkl without executing it). Raises UserError."""
        return Body.from_arrays(read_body_file(Path(path)), Path(path).name).to(device)

    @staticmethod
    def from_arrays(data: Mapping[str, np.ndarray], name: str) -> Body:
        """A body from the checked arrays of a body file: posedirs [V,3,207] and landmarks [5] may be missing."""
        vertices = len(data["v_template"])
        landmarks = data["landmarks"].tolist() if "landmarks" in data else None
        if landmarks is None:
            # Other topologies than SMPL's own give no face points by number; the head's foremost vertex serves all five.
            head = np.flatnonzero(data["weights"][:, 15] > 0.5)
            foremost = int(head[data["v_template"][head, 2].argmax()]) if len(head) else 0
            landmarks = list(SMPL_LANDMARKS) if vertices == 6890 else [foremost] * 5
        posedirs = None
        if np.any(data.get("posedirs", 0)):
            posedirs = torch.as_tensor(data["posedirs"].reshape(vertices * 3, -1).T.copy()).float()
        return Body(
            v_template=torch.as_tensor(data["v_template"]).float(),
            shapedirs=torch.as_tensor(data["shapedirs"][:, :, :10]).float(),
            posedirs=posedirs,
            J_regressor=torch.as_tensor(data["J_regressor"]).float(),
            weights=torch.as_tensor(data["weights"]).float(),
            faces=torch.as_tensor(data["faces"].astype(np.int64)),
            landmark_vertices=torch.as_tensor(np.asarray(landmarks).astype(np.int64)),
            name=name,
        )

    def subset(self, vertices: Tensor) -> Body:
        """The same body with only `vertices` [n] (int64), without faces: cheap skinning of a few points."""
        posedirs = None if self.posedirs is None else self.posedirs.view(207, -1, 3)[:, vertices].flatten(1)
        small = replace(
            self,
            v_template=self.v_template[vertices],
            shapedirs=self.shapedirs[vertices],
            posedirs=posedirs,
            J_regressor=self.J_regressor[:, vertices],
            weights=self.weights[vertices],
            faces=self.faces[:0],
            landmark_vertices=self.landmark_vertices[:0],
        )
        small._joint_template, small._joint_shapedirs = self._joint_template, self._joint_shapedirs
        return small

    @functools.cached_property
    def head(self) -> Body:
        """The face's landmarks alone."""
        return self.subset(self.landmark_vertices)

    @property
    def device(self) -> torch.device:
        return self.v_template.device

    @property
    def sha256(self) -> str:
        """Hash of the model's tensors, whatever file they came from."""
        digest = hashlib.sha256()
        tensors = [self.v_template, self.shapedirs, self.J_regressor, self.weights, self.faces, self.landmark_vertices]
        for tensor in tensors if self.posedirs is None else [*tensors, self.posedirs]:
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
        return digest.hexdigest()

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints of the zero pose: betas [B,10] to [B,24,3]."""
        return self._joint_template + torch.einsum("bs,jcs->bjc", betas, self._joint_shapedirs)

    def standing_height(self, betas: Tensor) -> Tensor:
        """Height [B] (metres) of shapes [B,10] in the zero pose."""
        y = self.v_template[:, 1] + torch.einsum("vi,bi->bv", self.shapedirs[:, 1], betas)
        return y.amax(1) - y.amin(1)

    def __call__(
        self,
        betas: Tensor,  # [B,10]
        body_pose: Tensor,  # [B,69] axis-angle
        global_orient: Tensor,  # [B,3] axis-angle
        transl: Tensor,  # [B,3]
        scale: Tensor | None = None,  # [B]
        *,
        reference_scale: bool = False,
    ) -> BodyOutput:
        """Pose the body. `scale` multiplies everything about the world's origin.

        With `reference_scale` the transforms' translations stay unscaled, as in AG3D's released code; vertices and
        transforms then disagree unless scale is 1.
        """
        batch = len(betas)
        rotations = axis_angle_to_matrix(torch.cat([global_orient, body_pose], dim=1).view(batch, 24, 3))
        shaped = self.v_template + (betas @ self._shape_basis).view(batch, -1, 3)
        transforms, joints = self.forward_kinematics(rotations, self.rest_joints(betas), transl)
        if self.posedirs is not None:
            feature = (rotations[:, 1:] - torch.eye(3, device=rotations.device)).reshape(batch, 207)
            shaped = shaped + (feature @ self.posedirs).view(batch, -1, 3)
        vertices = apply_transforms(blend_skinning_weights(self.weights, transforms), shaped)
        if scale is not None:
            vertices, joints = vertices * scale[:, None, None], joints * scale[:, None, None]
            transforms = _scaled(transforms, scale, reference_scale)
        return BodyOutput(vertices, joints, vertices[:, self.landmark_vertices], transforms)

    def forward_kinematics(self, rotations: Tensor, rest_joints: Tensor, transl: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations [B,24,3,3], rest joints [B,24,3], transl [B,3] to transforms [B,24,4,4], joints [B,24,3]."""
        transforms, joints = forward_kinematics(rotations, rest_joints, self.parents)
        placed = torch.cat([transforms[..., :3], transforms[..., 3:] + transl[:, None, :, None]], dim=-1)
        last = torch.eye(4, device=transl.device)[3].expand(len(transl), 24, 1, 4)
        return torch.cat([placed, last], dim=-2), joints + transl[:, None]

    def from_label(self, label: Tensor, reference_scale: bool = False) -> BodyOutput:
        """The bodies of labels [B,111]."""
        parts = labels.split(label)
        pose = (parts.betas, parts.body_pose, parts.global_orient, parts.transl, parts.scale)
        return self(*pose, reference_scale=reference_scale)

    def transforms_of(self, label: Tensor, reference_scale: bool = False) -> Tensor:
        """Only their transforms [B,24,4,4], for which no vertex need be posed."""
        parts = labels.split(label)
        rotations = axis_angle_to_matrix(torch.cat([parts.global_orient, parts.body_pose], dim=1).view(-1, 24, 3))
        transforms, _ = self.forward_kinematics(rotations, self.rest_joints(parts.betas), parts.transl)
        return _scaled(transforms, parts.scale, reference_scale)


def _scaled(transforms: Tensor, scale: Tensor, reference_scale: bool) -> Tensor:
    factor = torch.ones(len(scale), 1, 4, 4, device=scale.device)
    factor[:, :, :3, : 3 if reference_scale else 4] = scale[:, None, None, None]
    return transforms * factor
