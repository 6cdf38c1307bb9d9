"""Measures of geometry and control, on scenes whose answer is known."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.small_results import person_labels

from ag3d.config import Network
from ag3d.core.camera import CAMERA_DISTANCE
from ag3d.evaluation.metrics import geometry, view_consistency
from ag3d.evaluation.metrics.view_consistency import project, sample_at, unproject
from ag3d.model.avatars.identities import orbit_view
from ag3d.model.body import label as labels
from ag3d.model.generator import Generator
from ag3d.preprocessing.people.person_search import PersonDetections

SIZES = {
    **{"image_resolution": 64, "plane_resolution": 16, "z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8},
    **{
        "sr_channels": 8,
        "decoder_hidden": 8,
        "depth_resolution": 24,
        "depth_resolution_importance": 24,
        "beta_init": 0.005,
        "face_fraction": 4,
    },
}


@pytest.fixture(scope="module")
def network(tiny_body) -> Generator:
    """New: its surface is the body, nearly."""
    torch.manual_seed(0)
    return Generator(Network(**SIZES), tiny_body).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def label() -> torch.Tensor:
    return person_labels(4)


# Cameras


def test_the_datas_camera_shows_x_and_y(label):
    points = torch.tensor([[[0.5, -0.25, 0.0], [0.0, 0.0, 0.2]]]).expand(4, 2, 3)
    places, distance = project(points, label)
    assert places[0, 0].tolist() == pytest.approx([0.75, 0.375], abs=1e-6)
    assert places[0, 1].tolist() == [0.5, 0.5]
    assert distance[0, 1] == pytest.approx(CAMERA_DISTANCE + 0.2)


def test_lifting_undoes_projection(label, network):
    seen = orbit_view(label, 0.7, network)
    depth = 99.5 + torch.rand(4, 1, 8, 8)
    places, distance = project(unproject(depth, seen), seen)
    centres = (torch.arange(8) + 0.5) / 8
    expected = torch.stack([centres.repeat(8), centres.repeat_interleave(8)], dim=1)
    torch.testing.assert_close(places, expected.expand(4, 64, 2), atol=2e-4, rtol=0)
    torch.testing.assert_close(distance, depth.flatten(1), atol=1e-3, rtol=0)


def test_look_up_at_pixel_centres():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    places = torch.tensor([[[0.375, 0.625], [0.5, 0.625]]])  # the centre of column 1, row 2; between columns 1 and 2
    assert sample_at(image, places)[0, :, 0].tolist() == [9.0, 9.5]


# Control


class Landmarks:
    """In place of the detector: the label's own landmarks, moved; nobody for the pictures named."""

    def __init__(self, body, label, side, shift, lost=()):
        self.body, self.label, self.side, self.shift, self.lost = body, label, side, shift, lost
        self.calls = 0

    def __call__(self, net, rgb, score):
        number, self.calls = self.calls, self.calls + 1
        if number in self.lost:
            return PersonDetections([], 0.0)
        joints, face, _ = geometry.expected_landmarks(self.body, self.label[number], self.side)
        found = np.zeros((33, 2))
        found[list(geometry.pose_metrics.LANDMARKS)] = joints[list(geometry.pose_metrics.JOINTS)]
        found[list(geometry.pose_metrics.FACE_LANDMARKS)] = face

        class Person:
            landmarks_2d = (found + self.shift) * (len(rgb) / self.side)

        return PersonDetections([Person()], 0.0)


@pytest.mark.parametrize("side", [64, 300])
def test_landmarks_where_the_label_has_them(tiny_body, label, side, monkeypatch):
    monkeypatch.setattr(geometry, "find_people", Landmarks(tiny_body, label, side, (3.0, 4.0), lost=(2,)))
    errors = geometry.pose_errors(None, tiny_body, [np.zeros((side, side, 3), np.uint8)] * 4, label)
    assert errors["pck_pixels"] == pytest.approx([5.0] * 3)
    assert len(errors["pck"]) == 4
    standing_height = geometry.expected_landmarks(tiny_body, label[0], side)[2]
    near = 1.0 if geometry.PCK_THRESHOLD * standing_height > 5 else 0.0
    assert errors["pck"] == [near, near, 0.0, near]
    assert errors["pck_share"][0] == pytest.approx(100 * 5 / standing_height)


def test_the_height_on_the_picture(tiny_body):
    upright = labels.canonical_label()
    vertices = tiny_body.from_label(upright).vertices[0]
    expected = float(vertices[:, 1].max() - vertices[:, 1].min()) * 100 / 2
    assert geometry.expected_landmarks(tiny_body, upright[0], 100)[2] == pytest.approx(expected, rel=1e-4)


# Surface


def test_angles_between_vectors():
    up = torch.zeros(4, 4, 3)
    up[..., 2] = 1
    tilted = torch.zeros(4, 4, 3)
    tilted[..., 0], tilted[..., 2] = 5 * math.sin(0.3), 5 * math.cos(0.3)
    everywhere = torch.ones(4, 4, dtype=torch.bool)
    assert geometry.mean_angle(up, tilted, everywhere) == pytest.approx(math.degrees(0.3), abs=1e-3)
    assert math.isnan(geometry.mean_angle(up, tilted, ~everywhere))


def test_a_new_networks_surface_is_the_bodys(network, label):
    found = geometry.mesh_consistency(network, network.mapping(torch.zeros(1, 8)), label[:1], 64)
    assert found["body"] < 40  # millimetres: a network of small residual
    assert found["body"] <= found["body_p95"]
    assert found["angle"] < 25
    assert found["overlap"] > 0.75


@pytest.mark.parametrize("outwards", [0.0, 0.02])
def test_distance_to_the_body(network, label, outwards):
    """A residual that is the same everywhere moves the surface by as much (metres)."""
    network = copy.deepcopy(network)
    _, last = network.decoder.layers
    with torch.no_grad():
        last.weight[0], last.bias[0] = 0, outwards
    found = geometry.mesh_consistency(network, network.mapping(torch.zeros(1, 8)), label[:1], 96)
    assert found["body"] == pytest.approx(1000 * outwards, abs=2)


def test_turned_normals_are_noticed(network, label, monkeypatch):
    ws = network.mapping(torch.zeros(1, 8))
    right = geometry.mesh_consistency(network, ws, label[:1], 64)
    true = geometry.posed_mesh
    monkeypatch.setattr(geometry, "posed_mesh", lambda g, mesh, lab: true(g, mesh, label[1:2]))
    wrong = geometry.mesh_consistency(network, ws, label[:1], 64)
    assert wrong["angle"] > 2 * right["angle"]
    assert wrong["overlap"] < right["overlap"]


# Turning and moving


def test_opposite_outlines_mirror_each_other():
    front = np.zeros((40, 40), bool)
    front[5:30, 8:20] = True
    front[10:14, 20:26] = True
    middle = 17 / 40
    back = np.zeros_like(front)
    for column in range(40):  # pixel centres c + 0.5 go to 34 - (c + 0.5)
        if 0 <= 33 - column < 40:
            back[:, column] = front[:, 33 - column]
    assert view_consistency.opposite_overlap(front, back, middle) == 1.0
    assert view_consistency.opposite_overlap(front, front, middle) < 0.9


def test_a_network_seen_from_all_sides(network, label):
    found = view_consistency.view_consistency(network, network.mapping(torch.zeros(1, 8)), label[:1])
    assert found["silhouette"] > 0.85
    assert 0 <= found["color"] < 60


def plane(colour: torch.Tensor, depth: float = 100.0) -> dict[str, torch.Tensor]:
    side = colour.shape[-1]
    return {
        "image": colour,
        "opacity": torch.ones(1, 1, side, side),
        "image_depth": torch.full((1, 1, side, side), depth),
    }


def test_colours_seen_by_two_cameras(label):
    random = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(1, 3, 4, 4, generator=random), size=32, mode="bilinear") * 2 - 1
    here = label[:1]
    assert view_consistency.color_difference(here, plane(smooth), here, plane(smooth)) == pytest.approx(0, abs=1e-3)
    assert view_consistency.color_difference(here, plane(smooth), here, plane(smooth + 0.2)) == pytest.approx(
        0.2 * 127.5, rel=1e-3
    )
    assert math.isnan(
        view_consistency.color_difference(here, plane(smooth), here, plane(smooth, 99.0))
    )  # nothing in common


def test_colours_that_move_with_the_body_do_not_flicker(tiny_body):
    """The body moves to the right by whole pixels, its picture with it."""
    side = 64
    track = labels.canonical_label().repeat(4, 1)
    track[:, 26] = torch.arange(4) * 2 / side  # transl x: one pixel a frame
    pattern = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    frames = [torch.roll(pattern, step, dims=3) for step in range(4)]
    assert view_consistency.color_changes(tiny_body, track, frames) < 1.0
    assert view_consistency.color_changes(tiny_body, track, [pattern] * 4) > 10
    brighter = [frame + 0.1 * (step % 2) for step, frame in enumerate(frames)]
    assert view_consistency.color_changes(tiny_body, track, brighter) == pytest.approx(0.1 * 127.5, rel=0.1)


def test_hidden_places_are_not_compared(tiny_body):
    upright = labels.canonical_label()
    _, seen = view_consistency.vertex_colors(tiny_body, upright, torch.zeros(1, 3, 128, 128))
    depth = tiny_body.from_label(upright).vertices[0, :, 2]
    assert 0.3 < seen.float().mean() < 0.8
    assert depth[seen].mean() < depth[~seen].mean()


def test_flicker_of_a_network(network, label):
    from ag3d.evaluation.metrics.geometry import walk

    track = walk(label[:1])
    assert track.shape == (12, 111)
    value = view_consistency.temporal_consistency(network, network.mapping(torch.zeros(1, 8)), track[:3])
    assert 0 <= value < 60
    still = view_consistency.temporal_consistency(network, network.mapping(torch.zeros(1, 8)), track[:1].repeat(3, 1))
    assert still == pytest.approx(0, abs=1e-3)
