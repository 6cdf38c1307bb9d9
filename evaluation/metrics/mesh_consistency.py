"""The extracted surface against what is rendered, and against the body underneath."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ag3d.evaluation.truth import pose_metrics
from ag3d.model.export.mesh import canonical_mesh, posed_mesh
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import render_normals

SOLID = 0.95  # opacity from which a pixel's normal is one surface's


@torch.no_grad()
def surface_errors(generator: Generator, ws: torch.Tensor, label: torch.Tensor, resolution: int) -> dict[str, float]:
    """Measures of a person (ws [1,…], label [1,111]) whose mesh has `resolution` voxels along its longest side.

    `angle`: degrees between rendered normals and the posed mesh's, where both are; `overlap`: of the two silhouettes
    (IoU); `body` and `body_p95`: millimetres between mesh and body in the canonical pose, mean and 95 % point.
    Raises UserError where there is no surface.
    """
    planes = generator.planes(ws)
    mesh = canonical_mesh(generator, planes, resolution)
    points = torch.from_numpy(np.asarray(mesh.vertices)).float().to(label.device)
    distance = generator.deformer.body_distance(points)[0].abs().clamp_max(1.0)
    rendered = generator.synthesis(ws, label, planes=planes)
    # The mesh comes upright, y up; the label's world has y down and z away.
    vertices = np.asarray(posed_mesh(generator, mesh, label).vertices) * [1.0, -1.0, -1.0]
    normals, mask = render_normals(
        torch.from_numpy(vertices).float(),
        torch.from_numpy(np.asarray(mesh.faces)).long(),
        rendered["opacity"].shape[-1],
    )
    opacity = rendered["opacity"][0, 0].cpu()
    return {
        "angle": mean_angle(rendered["image_normal"][0].permute(1, 2, 0).cpu(), normals, mask & (opacity > SOLID)),
        "overlap": pose_metrics.iou((opacity > 0.5).numpy(), mask.numpy()),
        "body": 1000 * float(distance.mean()),
        "body_p95": 1000 * float(distance.quantile(0.95)) if len(distance) < 1 << 24 else float("nan"),
    }


def mean_angle(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> float:
    """Degrees between vectors [H,W,3] where the mask [H,W] says; not a number where that is nowhere."""
    cosine = (F.normalize(a[where], dim=-1) * F.normalize(b[where], dim=-1)).sum(-1)
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).mean())
