"""What the stages found, drawn over the photographs."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ag3d.core.camera import project
from ag3d.core.resize import resize
from ag3d.evaluation.report.media import on_white
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import interpolate, rasterize, render_normals, vertex_normals

# BlazePose's 33 landmarks: bones of the subject's left, right, and the middle.
LEFT = ((11, 13), (13, 15), (15, 19), (23, 25), (25, 27), (27, 31), (27, 29), (11, 23), (2, 7))
RIGHT = ((12, 14), (14, 16), (16, 20), (24, 26), (26, 28), (28, 32), (28, 30), (12, 24), (5, 8))
MIDDLE = ((11, 12), (23, 24), (0, 2), (0, 5))
COLORS = {"left": (40, 150, 255), "right": (255, 110, 50), "middle": (245, 235, 90)}
BACKDROP = np.array([38, 120, 110], np.float32)


def landmarks(image: np.ndarray, points: np.ndarray, visibility: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Skeleton of points [33,2] (pixels of `image`) in the subject's left (blue) and right (orange), faint where hidden."""
    canvas = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 120))
    if box is not None and np.isfinite(box).all():
        x0, y0, x1, y1 = np.round(box).astype(int)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), (255, 255, 255), 1, cv2.LINE_AA)
    for side, bones in (("middle", MIDDLE), ("left", LEFT), ("right", RIGHT)):
        for a, b in bones:
            visible = min(visibility[a], visibility[b]) >= 0.5
            color = COLORS[side] if visible else tuple(int(0.4 * c + 90) for c in COLORS[side])
            start, end = (tuple(int(v) for v in np.round(points[k])) for k in (a, b))
            if visible:
                cv2.line(canvas, start, end, (20, 20, 20), thickness + 2, cv2.LINE_AA)
            cv2.line(canvas, start, end, color, thickness if visible else 1, cv2.LINE_AA)
    return canvas


def cutout(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person over a plain colour; alpha [h,w] uint8 of any size."""
    a = (
        cv2.resize(alpha, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None]
        / 255
    )
    return np.rint(image * a + BACKDROP * (1 - a)).astype(np.uint8)


def fit(image: np.ndarray, body: Body, row: dict, scale: float) -> np.ndarray:
    """The fitted body, shaded by its normals, over the photograph. `row`: of the table of fits; `scale`: of `image`."""
    parts = [
        torch.tensor(np.asarray(row[name], np.float32))[None]
        for name in ("betas", "body_pose", "global_orient", "transl")
    ]
    with torch.no_grad():
        vertices = body(*parts).vertices[0]
    height, width = image.shape[:2]
    centre, half = torch.tensor([row["centre_x"], row["centre_y"]]).float(), torch.tensor(row["half"]).float()
    screen = torch.cat([project(vertices, half, centre) * scale, vertices[:, 2:]], dim=1)
    raster = rasterize(screen, body.faces, height, width)
    normals = vertex_normals(vertices, body.faces) * torch.tensor([1.0, -1.0, -1.0])
    colors = (F.normalize(interpolate(raster, body.faces, normals), dim=-1).numpy() + 1) * 127.5
    covered = (raster.face_index >= 0).numpy()[..., None]
    return np.where(covered, 0.25 * image + 0.75 * colors, image).clip(0, 255).astype(np.uint8)


def crop_with_outline(crop: np.ndarray, body: Body, label: np.ndarray, side: int) -> np.ndarray:
    """An aligned RGBA crop on white, with the outline of its label's body."""
    white = on_white(resize(crop, (side, side)))
    with torch.no_grad():
        vertices = body.from_label(torch.from_numpy(label)[None]).vertices[0]
    _, mask = render_normals(vertices, body.faces, side)
    contours, _ = cv2.findContours(mask.numpy().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(white, contours, -1, (230, 30, 90), 1, cv2.LINE_AA)
