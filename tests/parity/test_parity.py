"""The network computes what the reference computes: every recording (*.npz) in AG3D_PARITY_DIR is compared.

Sizes are read from the recording. A recording holds weights, latents, labels, and what came out of the reference with
deterministic sampling; see the README beside the recordings.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ROOT

from ag3d.config import Network
from ag3d.model import face_crop
from ag3d.model.body.body import Body
from ag3d.model.deformation.init_bones import REFERENCE_STRIDE, find_from_bones
from ag3d.model.deformation.knn import near_body
from ag3d.model.generator import Generator
from ag3d.model.legacy.infer_config import settings_from_shapes
from ag3d.model.legacy.key_map import our_tensors
from ag3d.model.networks.discriminator import Discriminators
from ag3d.model.training import discriminator_inputs, losses

DEFAULT = ROOT.parent / "shared" / "parity"
FOLDER = Path(os.environ.get("AG3D_PARITY_DIR", DEFAULT))
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# TF32 rounds to three digits; the recordings are in full fp32.
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def recordings() -> list[Path]:
    return sorted(file for file in FOLDER.glob("*.npz") if file.name != "body.npz") if FOLDER.is_dir() else []


def beside(name: str) -> Path:
    return FOLDER / name if (FOLDER / name).exists() else DEFAULT / name


class Recording:
    """A recording, the network with its weights, and what the network makes of its inputs."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self.data = {key: torch.from_numpy(archive[key]) for key in archive.files}
        self.settings = self._settings()
        self.body = Body.load(beside("body.npz"))
        distance = torch.from_numpy(np.load(beside("body_sdf.npy"), allow_pickle=False))[0, 0]
        self.generator = Generator(self.settings, self.body, distance).to(DEVICE)
        self.discriminators = Discriminators(self.settings).to(DEVICE)
        for module, prefix in ((self.generator, "G/"), (self.discriminators, "D/")):
            state = {key[2:]: value.float() for key, value in self.data.items() if key.startswith(prefix)}
            module.load_state_dict(our_tensors(state))
        self.label = self.data["label"].to(DEVICE)
        self.z = self.data["z"].to(DEVICE)
        self.centers = face_crop.face_centers(self.generator.body, self.label, ignore_scale=True)

    def _settings(self) -> Network:
        """Sizes from the shapes of the tensors; what no tensor tells, from keys of the file or the README's values."""
        data = self.data
        generator, discriminator = (
            our_tensors({key[2:]: tuple(data[key].shape) for key in data if key.startswith(prefix)})
            for prefix in ("G/", "D/")
        )
        scalar = lambda key, default: int(data[key]) if key in data else default  # noqa: E731
        return Network(
            **settings_from_shapes(generator, discriminator),
            neural_resolution=int(data["out/image_raw"].shape[-1]),
            depth_resolution=scalar("depth_resolution", 12),
            depth_resolution_importance=scalar("depth_resolution_importance", 12),
            conv_clamp=0.0,
            mbstd_group_size=scalar("mbstd_group", 2),
        )

    def silence(self) -> None:
        """The losses were recorded with all noise strengths set to zero."""
        for name, parameter in self.generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.zero_()


@pytest.fixture(scope="module", params=recordings() or [None], ids=lambda path: path.stem if path else "none")
def recording(request) -> Recording:
    if request.param is None:
        pytest.skip(f"no recordings in {FOLDER}; set AG3D_PARITY_DIR")
    previous = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield Recording(request.param)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = previous


@pytest.fixture(scope="module")
def images(recording) -> dict[str, dict[str, torch.Tensor]]:
    with torch.no_grad():
        ws = recording.data["ws_psi0.7"].to(DEVICE)
        return {
            "out": recording.generator.synthesis(ws, recording.label),
            "out_cano": recording.generator.synthesis(ws, recording.label, canonical=True),
        }


def error(ours: torch.Tensor, recorded: torch.Tensor) -> torch.Tensor:
    assert ours.shape == recorded.shape
    return (ours.detach().cpu() - recorded).abs().double().flatten()


def test_body(recording):
    out = recording.generator.body.from_label(recording.label, reference_scale=True)
    assert error(out.vertices, recording.data["body/vertices"]).max() < 1e-5
    assert error(torch.cat([out.joints, out.landmarks], dim=1), recording.data["body/joints"]).max() < 1e-5
    assert error(out.transforms, recording.data["body/A"]).max() < 1e-5


def test_skinning_and_posed_grids(recording):
    data, deformer = recording.data, recording.generator.deformer
    posed = deformer.pose(recording.label)
    shape = deformer.weights_shape
    assert error(posed.bones, data["def/tfs"]).max() < 1e-5
    weights = deformer.weights.t().reshape(1, 24, *shape)[:, :, ::2, ::4, ::4]
    assert error(weights, data["def/lbs_voxel_stride4"]).max() < 1e-5
    tables = posed.transforms.table.values.view(-1, *shape, 12).permute(0, 4, 1, 2, 3)[:, :, ::2, ::4, ::4]
    assert error(tables, data["def/voxel_J_stride4"]).max() < 1e-5
    asked = data["def/query_weights_at_root0"].shape[1]
    roots = data["def/roots"][:, :asked, 0].to(DEVICE)
    assert (
        error(
            deformer.skinning(roots.reshape(-1, 3)).view(*roots.shape[:2], 24), data["def/query_weights_at_root0"]
        ).max()
        < 1e-5
    )
    recorded = data["def/query_sdf_at_root0"]
    values = deformer.body_sdf(roots[: len(recorded)].reshape(-1, 3))[0].view(recorded.shape)
    inside = recorded > -1
    assert error(values.cpu()[inside], recorded[inside]).max() < 1e-5
    assert torch.equal(values.cpu() > -1, inside)


def test_search(recording):
    data, deformer = recording.data, recording.generator.deformer
    points, mask = data["def/points"], data["def/mask"][..., 0]
    posed = deformer.pose(recording.label)
    surface = posed.surface[:, ::REFERENCE_STRIDE]
    near = [
        near_body(cloud, around, recording.settings.cull_distance)[0]
        for cloud, around in zip(points.to(DEVICE), surface)
    ]
    for index, place in enumerate(near):
        assert torch.equal(place.cpu(), torch.nonzero(mask[index]).squeeze(1))
    distance = recording.settings.cull_distance
    found = find_from_bones(points.to(DEVICE), posed.surface, posed.transforms, distance)
    recorded_valid, recorded_roots = data["def/valid"].flatten(0, 1), data["def/roots"].flatten(0, 1)
    # Our roots are packed; they are brought into the recording's order by their distance to the recorded ones.
    flat, roots = found.flat.cpu(), found.roots.cpu()
    distance = (recorded_roots[flat] - roots[:, None]).norm(dim=2).masked_fill(~recorded_valid[flat], torch.inf)
    nearest = distance.min(1)
    matched = torch.zeros_like(recorded_valid)
    close = nearest.values < 5e-4
    matched[flat[close], nearest.indices[close]] = True
    asked = mask.sum() * recorded_valid.shape[1]
    assert not recorded_valid[~mask.flatten()].any()
    assert (recorded_valid & ~matched).sum() / asked < 0.001
    assert (~close).sum() / asked < 0.001


def test_mapping_and_planes(recording):
    with torch.no_grad():
        ws = recording.generator.mapping(recording.z, truncation=0.7)
        planes = recording.generator.planes(ws).flatten(1, 2)[:, :, ::8, ::8]
    assert error(ws, recording.data["ws_psi0.7"]).max() < 1e-5
    assert error(planes, recording.data["out/planes_stride8"]).max() < 2e-4


@pytest.mark.parametrize("way", ["out", "out_cano"])
@pytest.mark.parametrize("kind", ["image", "image_raw"])
def test_images(recording, images, way, kind):
    difference = error(images[way][kind], recording.data[f"{way}/{kind}"])
    assert torch.quantile(difference, 0.999) < 2e-3
    assert difference.mean() < 2e-4


@pytest.mark.parametrize("way", ["out", "out_cano"])
def test_normals(recording, images, way):
    assert error(images[way]["image_normal"], recording.data[f"{way}/image_normal"]).mean() < 1e-3


def test_depth(recording, images):
    assert error(images["out"]["image_depth"], recording.data["out/image_depth"]).mean() < 1e-4


def test_face_crop(recording):
    size = recording.data["face_crop"].shape[-1]
    assert error(recording.centers, recording.data["face_center"]).max() < 1e-5
    crop = face_crop.crop(recording.data["out/image"].to(DEVICE), recording.centers, size)
    assert error(crop, recording.data["face_crop"]).max() < 1e-3


class Phases:
    """The three phases whose losses and gradients were recorded."""

    def __init__(self, recording: Recording) -> None:
        recording.silence()
        g, d, settings, label = recording.generator, recording.discriminators, recording.settings, recording.label
        self.reported: dict[str, torch.Tensor] = {}
        self.gradients: dict[str, dict[str, torch.Tensor]] = {}
        out = g.synthesis(g.mapping(recording.z), label)
        fake = discriminator_inputs.fake_inputs(out, recording.centers, settings)
        self._logits("Gmain", "fake", d(fake, label))
        loss = losses.generator_loss(self.total)
        eikonal = losses.eikonal(out["gradient"], out["empty"])
        self.reported |= {"Gmain/Loss/G/loss": loss, "Gmain/Loss/G/eikonal": eikonal}
        (loss.mean() + 0.1 * eikonal).backward()
        self._keep("Gmain", g)

        images = [recording.data[key].to(DEVICE).float() / 127.5 - 1 for key in ("real_u8", "normal_u8")]
        real = discriminator_inputs.real_inputs(*images, recording.centers, settings)
        d.zero_grad()
        self._logits("Dmain", "fake", d({key: value.detach() for key, value in fake.items()}, label))
        loss = losses.discriminator_fake_loss(self.total)
        self._logits("Dmain", "real", d(real, label))
        loss = loss + losses.discriminator_real_loss(self.total)
        self.reported["Dmain/Loss/D/loss"] = loss
        loss.mean().backward()
        self._keep("Dmain", d)

        d.zero_grad()
        real = {key: value.detach().requires_grad_() for key, value in real.items()}
        self._logits("Dreg", "real", d(real, label))
        penalty = losses.r1_penalty(self.total, real)
        self.reported |= {"Dreg/Loss/r1_penalty": penalty, "Dreg/Loss/D/reg": penalty * 10 / 2}
        (penalty * 10 / 2).mean().backward()
        self._keep("Dreg", d)

    def _logits(self, phase: str, kind: str, logits: dict[str, torch.Tensor]) -> None:
        self.total = losses.total_logit(logits)
        self.reported |= {f"{phase}/Loss/scores/{kind}/{head}": value for head, value in logits.items()}

    def _keep(self, phase: str, module: torch.nn.Module) -> None:
        self.gradients[phase] = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def phases(recording, images) -> Phases:  # after the images, since it changes the noise strengths
    return Phases(recording)


def test_logits(recording, phases):
    compared = [key for key in phases.reported if "scores" in key]
    assert len(compared) == 16
    for key in compared:
        assert error(phases.reported[key], recording.data[f"loss/{key}"]).max() < 1e-4, key


def test_losses(recording, phases):
    for key, value in phases.reported.items():
        recorded = recording.data[f"loss/{key}"]
        if key.endswith("eikonal"):  # of this large tensor, mean and standard deviation were kept
            value, recorded = value.view(1), recorded[:1]
        if "scores" not in key:
            relative = error(value, recorded) / recorded.abs().double().flatten()
            assert relative.max() < 1e-3, key


@pytest.mark.parametrize("phase", ["Gmain", "Dmain", "Dreg"])
def test_gradients(recording, phases, phase):
    start = f"gradnorm/{phase}/"
    # How strongly noise would act depends on the noise drawn, which the recording does not hold.
    recorded = {
        key[len(start) :]: float(value)
        for key, value in recording.data.items()
        if key.startswith(start) and not key.endswith("noise_strength")
    }
    ours = {name: float(value.norm()) for name, value in phases.gradients[phase].items()}
    relative = {name: abs(ours.get(name, 0.0) - norm) / norm for name, norm in recorded.items() if norm > 1e-12}
    assert len(relative) > 50
    assert max(relative.values()) < 0.1
    assert np.mean([value < 0.01 for value in relative.values()]) >= 0.98
    start = f"grad/{phase}/"
    whole = [key for key in recording.data if key.startswith(start)]
    assert whole
    for key in whole:
        expected = recording.data[key]
        assert (phases.gradients[phase][key[len(start) :]].cpu() - expected).norm() / expected.norm() < 0.01, key
