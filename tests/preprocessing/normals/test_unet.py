"""The normal network: what goes in and comes out, its training, its files, and the stage that uses it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.stage_tables import write_verdicts

from ag3d.config.data import Normals
from ag3d.core.errors import UserError
from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body.body import Body
from ag3d.model.body.label import canonical_label
from ag3d.preprocessing import schemas
from ag3d.preprocessing.helpers_training import normal_data, normal_examples, normal_training
from ag3d.preprocessing.normals import backends, unet
from ag3d.preprocessing.normals import stage as normals
from ag3d.preprocessing.normals.unet import NormalNetwork, UNetBackend
from ag3d.preprocessing.stage import read_verdicts
from ag3d.preprocessing.synthetic.dataset import ideal
from ag3d.preprocessing.synthetic.photograph import make_photograph
from ag3d.preprocessing.synthetic.render import models

SIDE = 64


def bumps(number: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A blob lit from the upper left whose folds only its shading shows: crop, smooth body normals, true normals, mask."""
    rng = np.random.default_rng(number)
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, side), np.linspace(1.2, -1.2, side))
    inside = (x / 0.8) ** 2 + y**2 < 1
    smooth = np.dstack([x, 0.6 * y, np.full_like(x, 0.9)])
    phase, angle = rng.uniform(0, 2 * np.pi, 2)
    fold = 0.7 * np.sin(9 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    true = smooth + np.dstack([fold * np.cos(angle), fold * np.sin(angle), 0 * x])
    smooth, true = (v / np.linalg.norm(v, axis=2, keepdims=True) for v in (smooth, true))
    light = np.array([-0.5, 0.5, 0.7])
    colour = np.clip(40 + 200 * (true @ light)[..., None] * rng.uniform(0.5, 1, 3), 0, 255).astype(np.uint8)
    return (
        np.dstack([colour, inside.astype(np.uint8) * 255]),
        smooth.astype(np.float32),
        true.astype(np.float32),
        inside,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Examples of three data sets."""
    place = tmp_path_factory.mktemp("examples")
    with write_shard(place / "people.zip", {}) as shard:
        for number in range(12):
            crop, body, true, inside = bumps(number)
            picture, masks = normal_data.encode_example(crop, body, inside, true, inside)
            name = f"set{number % 3}/person{number}"
            shard.add(f"{name}.avif", picture)
            shard.add(f"{name}.png", masks)
    return place


def train(monkeypatch: pytest.MonkeyPatch, data: Path, output: Path, *more: str) -> dict:
    options = ["--data", data, "--output", output, "--device", "cpu", "--batch", 4, *more]
    monkeypatch.setattr("sys.argv", ["normals-train", *map(str, options)])
    normal_training.main()
    return json.loads(output.with_suffix(".json").read_text())


def test_examples_come_back_as_they_were(folder: Path) -> None:
    people = normal_examples.read_examples(folder)
    assert len(people) == 12
    assert people.sources() == ["set0", "set1", "set2"]
    number = int(people.names[0].rsplit("person", maxsplit=1)[1])
    crop, body, true, inside = bumps(number)
    seen = normal_examples.make_batch(people.pixels[:1])
    assert torch.equal(seen.known[0, 0], torch.from_numpy(inside))
    for found, expected in ((seen.body, body), (seen.true, true)):
        cosine = (found[0].permute(1, 2, 0).numpy() * expected).sum(2)[inside]
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 3  # what compression costs
        assert (found[0, :, 0, 0] == 0).all()
    on_white = np.where(inside[..., None], crop[..., :3] / 127.5 - 1, 1)
    assert np.abs(seen.crop[0].permute(1, 2, 0).numpy() - on_white).mean() < 0.03
    assert len(people.of(["set1"])) == len(people.of(["set0", "set2"], inside=False)) == 4


def test_augmentation_moves_normals_with_their_pictures() -> None:
    """Whatever is done to the picture, a sphere's normals stay those of a sphere: they follow from the place."""
    x, y = np.meshgrid(np.linspace(-1.6, 1.6, SIDE), np.linspace(1.6, -1.6, SIDE))
    inside = x**2 + y**2 < 1
    sphere = np.dstack([x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))])
    crop = np.dstack([np.full((SIDE, SIDE, 3), 120, np.uint8), inside.astype(np.uint8) * 255])
    masks = np.dstack([crop[..., 3], *[inside.astype(np.uint8) * 255] * 2])
    normal = np.rint(127.5 * (sphere + 1)).astype(np.uint8)
    pixels = torch.from_numpy(np.dstack([crop[..., :3], normal, normal, masks]).transpose(2, 0, 1))[None].repeat(
        16, 1, 1, 1
    )
    seen = normal_examples.make_batch(pixels, torch.Generator().manual_seed(0))
    assert (seen.crop - normal_examples.make_batch(pixels).crop).abs().mean() > 0.1  # not left as they were
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    for k in range(16):
        known = seen.known[k, 0]
        # In a moved sphere's picture x and y of the normals are linear in the place, by the same number.
        px, py = columns[known].float(), -rows[known].float()
        nx, ny = seen.true[k, 0][known], seen.true[k, 1][known]
        slope = torch.stack(
            [((a - a.mean()) * (n - n.mean())).sum() / (a - a.mean()).square().sum() for a, n in ((px, nx), (py, ny))]
        )
        assert (slope * SIDE / 3.2 > 0.6).all()
        assert ((px - px.mean()) * slope[0] - (nx - nx.mean())).abs().max() < 0.12
        assert ((py - py.mean()) * slope[1] - (ny - ny.mean())).abs().max() < 0.12
        body = seen.body[k].norm(dim=0) > 0.5
        if body.any():
            cosine = (seen.body[k] * seen.true[k]).sum(0)[body & known]
            assert cosine.mean() > 0.99


def test_a_turned_picture_turns_its_normals() -> None:
    up = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    left = normal_examples._rotate_normals(up, torch.tensor([math.pi / 2]))
    torch.testing.assert_close(left[0, :, 0, 0], torch.tensor([-1.0, 0, 0]), atol=1e-6, rtol=0)
    image = torch.zeros(1, 1, 65, 65)
    image[0, 0, 5, 32] = 1  # a mark above the middle
    moved, angle = normal_examples._warp(image, torch.Generator().manual_seed(3), zoom=0, shift=0, turn=0.5)
    row, column = divmod(int(moved.argmax()), 65)
    assert math.atan2(32 - column, 32 - row) == pytest.approx(
        float(angle), abs=0.03
    )  # counter-clockwise goes to the left


def test_untrained_it_gives_the_body_back_and_unit_normals_everywhere() -> None:
    torch.manual_seed(0)
    network = NormalNetwork().eval()
    assert sum(p.numel() for p in network.parameters()) < 2_000_000
    body = torch.nn.functional.normalize(torch.randn(2, 3, 64, 32), dim=1)
    with torch.no_grad():
        out = network(torch.rand(2, 3, 64, 32), torch.ones(2, 1, 64, 32), body)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 64, 32))
    assert (out * body).sum(1).mean() > 0.95


@pytest.mark.slow
def test_a_few_steps_learn_and_the_same_seed_repeats(folder: Path, tmp_path: Path, monkeypatch) -> None:
    first = train(monkeypatch, folder, tmp_path / "a.safetensors", "--steps", "36", "--held-out", "set2")
    scores = first["held_out"]
    assert scores["network"]["mean"] < 0.85 * scores["body"]["mean"]  # the shading tells the folds
    assert (first["trained_on"]["people"], first["trained_on"]["data_sets"]) == (8, ["set0", "set1"])
    assert (tmp_path / "a.safetensors").stat().st_size < 8_000_000
    short = [train(monkeypatch, folder, tmp_path / f"{k}.safetensors", "--steps", "2", "--seed", "5") for k in "bc"]
    assert short[0]["held_out"] == short[1]["held_out"]
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()


def test_a_training_by_the_clock_ends(folder: Path, tmp_path: Path, monkeypatch) -> None:
    card = train(monkeypatch, folder, tmp_path / "a.safetensors", "--minutes", "0.02")
    assert card["training"]["steps"] >= 1
    assert card["training"]["seconds"] < 20


def test_wrong_options_are_told(folder: Path, tmp_path: Path, monkeypatch) -> None:
    output = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="holds no .zip; make one with: ag3d normals-data"):
        train(monkeypatch, tmp_path, output)
    with pytest.raises(UserError, match="--held-out names other; the data sets are set0, set1, set2"):
        train(monkeypatch, folder, output, "--held-out", "other")
    with pytest.raises(UserError, match="nobody is left to learn from"):
        train(monkeypatch, folder, output, "--held-out", "set0", "set1", "set2")
    with pytest.raises(UserError, match="must end in .safetensors"):
        train(monkeypatch, folder, tmp_path / "a.pt")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    unet.save(NormalNetwork(), {"side": 96}, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("side", [50, 96, 130])
def test_crops_of_any_size(weights: Path, side: int) -> None:
    crop, body, _, inside = bumps(0, side)
    out = UNetBackend(weights)(crop, body, inside)
    assert out.shape == (side, side, 3)
    np.testing.assert_allclose(np.linalg.norm(out, axis=2), 1, atol=1e-5)
    assert (out * body).sum(2)[inside].mean() > 0.95


def test_the_stage_uses_the_network(weights: Path, tmp_path: Path, tiny_body: Body) -> None:
    estimate, files = normals.choose_backend(Normals(method="network", network=str(weights)), 1)
    assert files == [weights]
    crop = bumps(0)[0]
    with write_shard(tmp_path / "aligned.zip", {}) as shard:
        shard.add_image("a.png", crop)
    write_verdicts(tmp_path / "aligned.zip", schemas.ALIGNED, {"a": {"label": canonical_label()[0].tolist()}})
    people, crops = read_verdicts(tmp_path / "aligned.zip"), ShardReader(tmp_path / "aligned.zip")
    with write_shard(tmp_path / "normals.zip", {}) as output:
        rows = list(normals.normals_of_shard(people, crops, tiny_body, estimate, output))
    status = {row["person_id"]: row for row in rows}
    assert status["a"]["status"] == "ok"
    image = ShardReader(tmp_path / "normals.zip").image("a.png")
    assert (image[crop[..., 3] == 0] == 255).all()
    assert not (image[crop[..., 3] > 0] == 255).all(-1).any()


def test_missing_and_foreign_weights_are_told(weights: Path, tmp_path: Path) -> None:
    assert backends.network_file(Normals(method="body")) is None
    assert backends.network_file(Normals()) == backends.OWN
    with pytest.raises(UserError, match=r"no.safetensors does not exist; name the weights .* 'normals.network'"):
        backends.network_file(Normals(method="network", network="no.safetensors"))
    weights.with_suffix(".json").write_text('{"format": "other"}')
    with pytest.raises(UserError, match="is no card of a normal network"):
        unet.load(weights)
    weights.with_suffix(".json").unlink()
    with pytest.raises(UserError, match=r"net.json does not exist"):
        backends.network_file(Normals(method="network", network=str(weights)))


def test_people_of_a_data_set_are_packed_with_their_truth(tmp_path: Path, tiny_body: Body) -> None:
    """The truth lies in a larger photograph than the crop; packed, it is what the crop's own body shows."""
    label, side, half = canonical_label(), 48, 60.0
    folder, centre = tmp_path / "people", (70.0, 80.0)
    whole, seen = normals.body_normals(tiny_body, label[0].tolist(), int(2 * half))
    truth = np.full((200, 160, 3), 255, np.uint8)
    mask = np.zeros((200, 160), np.uint8)
    window = np.s_[20:140, 10:130]
    truth[window], mask[window] = normals.encode(whole, seen), seen * 255
    with write_shard(folder / "synthetic/truth/truth.zip", {}) as shard:
        shard.add_image("photo-normal.png", truth)
        shard.add_image("photo-mask.png", mask)
    write_table(folder / "synthetic/truth/truth.parquet", pd.DataFrame({"photo_id": ["photo"], "width": [160]}), {})
    # The stages read the photograph at half its size.
    fit = {
        "person_id": "photo",
        "photo_id": "photo",
        "centre_x": centre[0] / 2,
        "centre_y": centre[1] / 2,
        "half": half / 2,
    }
    write_table(folder / "fitting/00000.parquet", pd.DataFrame([fit]), {})
    write_table(folder / "photos/00000.parquet", pd.DataFrame({"photo_id": ["photo"], "width": [80]}), {})
    with write_shard(folder / "alignment/00000.zip", {}) as shard:
        shard.add_image("photo.png", np.full((side, side, 4), 255, np.uint8))
    write_verdicts(folder / "alignment/00000.zip", schemas.ALIGNED, {"photo": {"label": label[0].tolist()}})
    with torch.no_grad(), write_shard(tmp_path / "out/people.zip", {}) as output:
        assert normal_data.pack(folder, tiny_body, output) == 1
    people = normal_examples.read_examples(tmp_path / "out")
    assert people.names == ["people/photo"]
    example = normal_examples.make_batch(people.pixels)
    assert example.known.sum() > 150
    cosine = (example.true * example.body).sum(1, keepdim=True)[example.known]
    assert cosine.median() > 0.99
    with pytest.raises(UserError, match="has no truth"):
        normal_data.pack(tmp_path / "elsewhere", tiny_body, output)


@pytest.mark.skipif(not backends.OWN.exists(), reason="the project's weights are not there")
def test_the_projects_weights_beat_the_body(open_body: Body, open_body_path: Path) -> None:
    """On people that no training has seen, with bodies that fit perfectly."""
    assert backends.OWN.stat().st_size < 8_000_000
    estimate, misses = UNetBackend(backends.OWN), []
    for number in range(3):
        photograph = make_photograph(
            *models(str(open_body_path), str(open_body_path.with_name("garments.npz"))), 31, number
        )
        crop, image, label = ideal(photograph, 192)
        found, seen = normals.body_normals(open_body, label, 192)
        true, inside = image / 127.5 - 1, normals.on_person(crop)
        for guess in (estimate(crop, found, seen), normals.body_backend(crop, found, seen)):
            cosine = (guess * true).sum(2)[inside] / np.linalg.norm(true, axis=2)[inside]
            misses.append(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())
    assert np.mean(misses[::2]) < 0.75 * np.mean(misses[1::2])


@pytest.mark.parametrize(
    "changed", [{"widths": [8, 12]}, {"widths": [8] * 9}, {"widths": "x"}, {"side": 0}, {"side": 1.5}]
)
def test_a_card_that_cannot_be(tmp_path, changed):
    """Told before a network is made: widths may ask for all memory."""
    unet.save(NormalNetwork((8, 16)), {"side": 32}, tmp_path / "normals.safetensors")
    unet.load(tmp_path / "normals.safetensors")
    card = tmp_path / "normals.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | changed))
    with pytest.raises(UserError, match="normals.json.*train"):
        unet.load(tmp_path / "normals.safetensors")


def test_a_card_of_larger_weights(tmp_path):
    unet.save(NormalNetwork((8, 16)), {"side": 32}, tmp_path / "normals.safetensors")
    card = tmp_path / "normals.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"widths": [4096, 4096]}))
    with pytest.raises(UserError, match="another network"):
        unet.load(tmp_path / "normals.safetensors")
