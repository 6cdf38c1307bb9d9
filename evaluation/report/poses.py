"""Plots of the pose distribution: viewing angles, heights, joint angles, shapes."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from matplotlib.projections.polar import PolarAxes
from matplotlib.ticker import MaxNLocator

from ag3d.evaluation.report.figures import COLORS, plot
from ag3d.evaluation.report.page import Figure
from ag3d.model.body import label as labels
from ag3d.model.body.body import JOINTS, Body
from ag3d.model.body.rotation import axis_angle_to_matrix

MAX_LABELS = 4000  # evenly chosen where there are more


def pose_figures(poses: np.ndarray, body: Body) -> list[Figure]:
    """Figures of labels [N,111]."""
    if len(poses) > MAX_LABELS:
        poses = poses[np.linspace(0, len(poses) - 1, MAX_LABELS).round().astype(int)]
    parts = labels.split(torch.from_numpy(np.asarray(poses, np.float32)))
    return [
        Figure(
            viewing_angle_plot(parts.global_orient),
            "Viewing angle: seen from the front (0°), from the person's sides (±90°), from behind (180°).",
            True,
        ),
        Figure(
            height_plot(parts.betas, parts.global_orient, body),
            "Height of the shapes (standing, metres) and lean of the trunk out of the vertical.",
        ),
        Figure(
            joint_angle_plot(parts.body_pose),
            "How far each joint is bent or turned out of the T-pose. Boxes hold the middle half, lines 95 %.",
        ),
        Figure(shape_plot(parts.betas), "Shape coefficients (betas). Boxes hold the middle half, lines 95 %.", True),
    ]


def yaw(global_orient: torch.Tensor) -> np.ndarray:
    """Degrees [N]: 0 facing the camera, +90 facing the image's right, 180 from behind. World: y down, z away."""
    front = axis_angle_to_matrix(global_orient)[..., 2]
    return np.degrees(np.arctan2(front[:, 0].numpy(), -front[:, 2].numpy()))


def lean(global_orient: torch.Tensor) -> np.ndarray:
    """Degrees [N] between the body's axis and the vertical."""
    up = axis_angle_to_matrix(global_orient)[..., 1]
    return np.degrees(np.arccos(np.clip(-up[:, 1].numpy(), -1, 1)))


def viewing_angle_plot(global_orient: torch.Tensor) -> str:
    angles = np.radians(yaw(global_orient))
    with plot(3.6, 3.4, polar=True) as figure:
        axes = cast(PolarAxes, figure.axes[0])
        counts, edges = np.histogram(angles, bins=36, range=(-np.pi, np.pi))
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=COLORS[0], alpha=0.85)
        axes.set_theta_zero_location("S")
        axes.set_xticks(np.radians([0, 45, 90, 135, 180, 225, 270, 315]))
        axes.set_xticklabels(["front", "", "90°", "", "back", "", "−90°", ""])
        axes.set_rlabel_position(22)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure.uri


def height_plot(betas: torch.Tensor, global_orient: torch.Tensor, body: Body) -> str:
    values_of = {"height (m)": standing_heights(betas, body), "lean (degrees)": lean(global_orient)}
    with plot(7.4, 2.6, columns=2) as figure:
        for axes, (name, values) in zip(figure.axes, values_of.items(), strict=True):
            axes.hist(values, bins=24, color=COLORS[0], alpha=0.85)
            axes.set_xlabel(name)
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure.uri


def standing_heights(betas: torch.Tensor, body: Body) -> np.ndarray:
    """Heights (metres) of shapes [N,10] in the zero pose."""
    return torch.cat([body.standing_height(chunk) for chunk in betas.split(64)]).numpy()


def joint_angle_plot(body_pose: torch.Tensor) -> str:
    angles = np.degrees(body_pose.view(len(body_pose), 23, 3).norm(dim=-1).numpy())
    with plot(7.4, 3.0) as figure:
        axes = figure.axes[0]
        _box_plot(axes, angles)
        names = [name.replace("_", " ") for name in JOINTS[1:]]
        axes.set_xticks(range(1, 24), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylabel("degrees")
    return figure.uri


def shape_plot(betas: torch.Tensor) -> str:
    with plot(3.6, 2.6) as figure:
        _box_plot(figure.axes[0], betas.numpy())
        figure.axes[0].set_xticks(range(1, betas.shape[1] + 1), [str(k) for k in range(betas.shape[1])])
        figure.axes[0].set_xlabel("coefficient")
    return figure.uri


def _box_plot(axes, values: np.ndarray) -> None:
    axes.boxplot(
        values,
        whis=(2.5, 97.5),
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": COLORS[0], "alpha": 0.7, "linewidth": 0},
        medianprops={"color": COLORS[1], "linewidth": 1.5},
        whiskerprops={"color": COLORS[0]},
        capprops={"color": COLORS[0]},
    )
