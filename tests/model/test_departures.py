"""Where the network leaves the reference it does better: each departure against the reference's way."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support import networks

from ag3d.config import Network
from ag3d.config.network import Departures
from ag3d.core.camera import CAMERA_DISTANCE
from ag3d.model import face_crop
from ag3d.model.avatars.identities import orbit_view
from ag3d.model.body import label as labels
from ag3d.model.deformation import broyden
from ag3d.model.deformation.deformer import Deformer
from ag3d.model.generator import Generator
from ag3d.model.ops.upfirdn2d import upsample2d
from ag3d.model.rendering.rasterizer import silhouette, vertex_normals
from ag3d.model.training import losses, optim
from ag3d.model.training.discriminator_inputs import DiscriminatorInputs

SMALL = {**networks.SMALL, "depth_resolution": 16, "depth_resolution_importance": 16}


def without(departure: str) -> Departures:
    return Departures(**{departure: False})


@pytest.fixture(scope="module")
def make(tiny_body):
    """A new generator with all departures, or with those given; its weights are the same for the same seed."""

    def made(departures: Departures | None = None, seed: int = 0) -> Generator:
        torch.manual_seed(seed)
        settings = Network(**SMALL, beta_init=0.02, departures=departures or Departures())
        return Generator(settings, tiny_body).eval()

    return made


@torch.no_grad()
def bare(generator: Generator) -> Generator:
    """Without a residual: the field is the body's distance."""
    last = generator.decoder.layers[1]
    last.weight[0], last.bias[0] = 0, 0
    return generator


def seen(generator: Generator, label: torch.Tensor, seed: int = 0) -> dict[str, torch.Tensor]:
    z = torch.randn(len(label), 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return generator(z, label)


def bent(count: int, amount: float) -> torch.Tensor:
    pose = torch.randn(count, 69, generator=torch.Generator().manual_seed(1)) * amount
    orient = torch.tensor([[math.pi, 0.0, 0.0]]).expand(count, 3)
    return labels.pack(torch.zeros(count, 3), orient, pose, torch.zeros(count, 10))


# The network.


def test_body_bounds_show_an_arm_stretched_forward(make):
    label = labels.canonical_label()
    label[:, 32 + 3 * 15 + 1] = -math.pi / 2  # the left shoulder
    nearest = []
    for departures in (Departures(), without("body_bounds")):
        out = seen(bare(make(departures)), label)
        nearest.append(float(out["image_depth"][out["opacity"] > 0.5].min()) - CAMERA_DISTANCE)
    assert nearest[0] < -0.5  # the hand
    assert nearest[1] > -0.3  # cut off


def test_body_bounds_let_a_camera_look_from_the_side(make):
    side = orbit_view(labels.canonical_label(), math.pi / 2, make())
    assert seen(make(), side)["opacity"].sum() > 10
    assert seen(make(without("body_bounds")), side)["opacity"].sum() == 0


def test_solid_body_has_a_core_and_no_abrupt_end(tiny_body):
    wide = replace(tiny_body, v_template=2 * tiny_body.v_template)
    core = None
    for departures, whole in ((Departures(), True), (without("solid_body"), False)):
        deformer = Deformer(Network(departures=departures), wide)
        if core is None:
            core = deformer.box.points(128).reshape(-1, 3)[deformer.distance.argmax()]
        outwards = core + torch.linspace(0, 1, 400)[:, None] * torch.tensor([0.0, 0.0, 0.4])
        value, gradient = deformer.body_sdf(outwards)
        assert (value[0] > 0.1) == whole
        assert (value.diff().abs().max() < 0.01) == whole
        assert (gradient.norm(dim=1).max() < 2) == whole


def test_metric_gradients_are_the_fields_slope(make):
    drawn = torch.Generator().manual_seed(3)
    points = torch.rand(1, 300, 3, generator=drawn) * torch.tensor([1.2, 1.2, 0.2]) - torch.tensor([0.6, 0.4, 0.1])
    errors = []
    for departures in (Departures(small_residual=False), Departures(small_residual=False, metric_gradients=False)):
        generator = make(departures)
        with torch.no_grad():
            ws = generator.mapping(torch.ones(1, 8))
            slope = [
                (generator.field(points + step, ws)["sdf"] - generator.field(points - step, ws)["sdf"])[0] / 2e-3
                for step in 1e-3 * torch.eye(3)
            ]
            errors.append((generator.field(points, ws)["gradient"][0] - torch.stack(slope, 1)).norm(dim=1).median())
    assert errors[0] < 1e-3
    assert errors[1] > 0.01


def test_total_eikonal_is_content_with_the_body_itself(make):
    found = []
    for departures in (Departures(), without("total_eikonal")):
        out = seen(bare(make(departures)), labels.canonical_label())
        found.append(float(losses.eikonal(out["gradient"], out["empty"])))
    assert found[0] < 0.05
    assert found[1] == pytest.approx(1.0)  # it asks the residual to break the distance


def test_surface_starts_search_less_and_leave_fewer_copies(tiny_body, monkeypatch):
    asked, kept = [], []
    for departures in (Departures(), without("surface_starts")):
        deformer = Deformer(Network(departures=departures), tiny_body)
        posed = deformer.pose(bent(1, 0.3))
        solve, numbers = broyden.solve, []
        with monkeypatch.context() as patch:
            patch.setattr(broyden, "solve", lambda *a, n=numbers, s=solve, **k: n.append(len(a[1])) or s(*a, **k))
            found = posed.find_correspondences(tiny_body.from_label(bent(1, 0.3)).vertices[:, ::3])
        again = found.flat[1:] == found.flat[:-1]
        asked.append(sum(numbers))
        kept.append(int((again & ((found.roots[1:] - found.roots[:-1]).norm(dim=1) < 1e-3)).sum()))
    assert asked[0] < asked[1] / 4
    assert kept[0] < kept[1] / 3


def test_covariant_normals_stand_on_the_skinned_surface(tiny_body):
    label = bent(6, 0.5)
    tilts, angles = [], []
    for departures in (Departures(), without("covariant_normals")):
        deformer = Deformer(Network(departures=departures), tiny_body)
        posed, points = deformer.pose(label), deformer.vertices
        mixed = deformer.skinning(points).amax(1) < 0.8  # where skin stretches
        resting = -vertex_normals(points, tiny_body.faces)
        along = F.normalize(torch.linalg.cross(resting, torch.ones_like(resting)), dim=1)
        tilt, angle = [], []
        for index in range(len(label)):
            image = torch.full((len(points),), index)
            linear, shift = posed.transforms.at(points, image)
            moved = (linear @ points[:, :, None])[..., 0] + shift
            carried = F.normalize(posed.carry_gradient(resting, points, image), dim=1)
            stretched = F.normalize((linear @ along[:, :, None])[..., 0], dim=1)
            tilt.append((carried * stretched).sum(1).abs()[mixed])
            cosine = (carried * -vertex_normals(moved, tiny_body.faces)).sum(1)
            angle.append(torch.rad2deg(cosine.clamp(-1, 1).acos())[mixed])
        tilts.append(torch.cat(tilt).max())
        angles.append(torch.cat(angle).mean())
    assert tilts[0] < 1e-5
    assert tilts[1] > 0.1
    assert angles[0] < angles[1]  # against the normals of the posed mesh


def test_small_residual_begins_with_the_body(make, tiny_body):
    label = labels.canonical_label()
    body = silhouette(tiny_body.from_label(label).vertices[0], tiny_body.faces, 16)
    overlaps = []
    for departures in (Departures(), without("small_residual")):
        shown = [seen(make(departures, seed), label, seed)["opacity"][0, 0] > 0.5 for seed in range(4)]
        overlaps.append(sum(float((mask & body).sum() / (mask | body).sum()) for mask in shown) / len(shown))
    assert overlaps[0] > 0.4
    assert overlaps[1] < 0.7 * overlaps[0]


# What stands under `compatibility` alone.


def test_face_crops_follow_the_bodys_scale(tiny_body):
    label = labels.canonical_label()
    label[:, 25] = 0.7
    truth = tiny_body.from_label(label).landmarks.mean(1)[:, :2] * 0.5 + 0.5
    assert (face_crop.face_centers(tiny_body, label) - truth).norm() < 1e-6
    assert (face_crop.face_centers(tiny_body, label, ignore_scale=True) - truth).norm() > 0.05


def test_blur_reaches_every_head_and_keeps_white_white(tiny_body):
    drawn = torch.Generator().manual_seed(0)
    image, normal = (torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=drawn) for _ in range(2))
    label = labels.canonical_label(2)
    for compatibility, everywhere in (("ours", True), ("reference", False)):
        inputs = DiscriminatorInputs(Network(**SMALL, compatibility=compatibility), tiny_body)
        blurred, sharp = (inputs.real(image, normal, label, sigma).images for sigma in (4.0, 0.0))
        contrast = {name: float(blurred[name].var() / sharp[name].var()) for name in sharp}
        assert contrast["image"] < 0.3
        assert all((contrast[name] < 0.3) == everywhere for name in sharp if name != "image")
        white = torch.full_like(image, 255)
        assert bool(inputs.real(white, white, label, 4.0).images["image"].min() > 0.999) == everywhere


def test_quiet_start_shows_the_rendering(make):
    errors, stains = [0.0, 0.0], [0.0, 0.0]
    for seed in range(4):
        usual, quiet = make(seed=seed), make(seed=seed)
        optim.damp_superresolution(quiet)
        for place, generator in enumerate((usual, quiet)):
            out = seen(generator, labels.canonical_label())
            errors[place] += float((out["image"] - upsample2d(out["image_raw"])).abs().mean())
            stains[place] += float((out["image"][..., :3, :3] - 1).abs().mean())  # a corner of the background
    assert errors[1] < 0.2 * errors[0]
    assert stains[1] < 0.5 * stains[0]
