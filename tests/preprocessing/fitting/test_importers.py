"""Fits made elsewhere land on the person, whatever program's camera and rotations they are written with."""

from __future__ import annotations

import os
import pickle
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.stage_tables import write_verdicts

from ag3d.config.data import FitImport, Fitting
from ag3d.core.errors import UserError
from ag3d.core.landmarks import JOINT_PAIRS
from ag3d.core.shards import ShardReader, write_shard
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing import schemas
from ag3d.preprocessing.fitting.importers import Imports, best_fit, possible_names
from ag3d.preprocessing.fitting.stage import fit_shard
from ag3d.preprocessing.matching import Photographs, name_of
from ag3d.preprocessing.stage import to_table

SIZE = (400, 600)
BOX = np.array([210.0, 330.0, 500.0, 500.0])  # centre, width, height
CAMERA = np.array([0.85, 0.05, 0.1])  # of the box: s, tx, ty
SCALE = 0.85 * 250
ORIGIN = BOX[:2] + SCALE * CAMERA[1:]


@pytest.fixture(scope="module")
def body(body_file: Path) -> Body:
    return Body.load(body_file)


def truth() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    pose = 0.2 * rng.normal(size=69)
    return {"orient": np.array([np.pi, 0.2, 0.1]), "pose": pose, "betas": rng.normal(size=10)}


def joints(body: Body, person: dict[str, np.ndarray]) -> np.ndarray:
    parts = (torch.from_numpy(person[k]).float()[None] for k in ("betas", "pose", "orient"))
    return body(*parts, torch.zeros(1, 3)).joints[0, :24].numpy().astype(np.float64)


def matrices(person: dict[str, np.ndarray]) -> np.ndarray:
    whole = np.concatenate([person["orient"], person["pose"]]).reshape(24, 3)
    return axis_angle_to_matrix(torch.from_numpy(whole)).numpy()


def photo(body: Body, person: dict[str, np.ndarray]) -> pd.Series:
    """A row of the table of people, whose landmarks lie on the joints."""
    pixels = ORIGIN + SCALE * joints(body, person)[:, :2]
    landmarks = np.zeros((33, 2))
    for landmark, joint in JOINT_PAIRS:
        landmarks[landmark] = pixels[joint]
    row = {"person_id": "walk-1", "photo_id": "walk-1", "path": "more/walk.jpg", "status": "ok"}
    row |= {"width": SIZE[0], "height": SIZE[1], "landmarks_2d": landmarks.ravel().tolist()}
    return pd.Series(row | {"landmarks_3d": [0.0] * 99, "visibility": (landmarks.any(1) * 1.0).tolist()})


def write(folder: Path, kind: str, person: dict[str, np.ndarray], body: Body) -> None:
    """As the program of `kind` writes them, with a stranger beside the person where one file holds several."""
    turns, betas = matrices(person), person["betas"][None]
    if kind == "pymaf":
        np.savez(
            folder / "output.npz",
            rotmat=np.stack([turns, turns]),
            betas=np.repeat(betas, 2, 0),
            pred_cam=np.stack([CAMERA, CAMERA]),
            bboxes=np.stack([BOX + np.array([300, 0, 0, 0]), BOX]),
            image_name=np.array(["images/more/walk.png", "images/more/walk.png"]),
        )
    elif kind == "hmr2":
        np.savez(
            folder / "walk_0.npz",
            **{
                "global_orient": turns[None, :1],
                "body_pose": turns[None, 1:],
                "betas": betas,
                "pred_cam": CAMERA[None],
            },
            **{"box_center": BOX[None, :2], "box_size": BOX[2:3]},
        )
    else:
        # A camera 40 m away, so that its picture is that of a distant one.
        depth, focal = 40.0, 40.0 * SCALE
        offset = (ORIGIN - np.array(SIZE) / 2) / focal * depth
        (folder / "walk").mkdir()
        content = {
            "camera_translation": np.array([[*offset, depth]]),
            "betas": betas,
            "body_pose": person["pose"][None],
        }
        content |= {"global_orient": person["orient"][None], "camera_rotation": np.eye(3)[None], "gender": "neutral"}
        (folder / "walk" / "000.pkl").write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("kind", ["pymaf", "hmr2", "smplifyx"])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_the_body_lands_on_the_person(tmp_path: Path, body: Body, kind: str, factor: float) -> None:
    person = truth()
    write(tmp_path, kind, person, body)
    imports = Imports(FitImport(str(tmp_path), kind, focal=40.0 * SCALE))
    row = photo(body, person)
    row["landmarks_2d"] = (np.array(row["landmarks_2d"]) * factor).tolist()
    row["width"], row["height"] = SIZE[0] * factor, SIZE[1] * factor
    fit, distance = best_fit(imports.of(row["path"]), row, factor, body, imports.settings.focal)
    assert distance < 3
    assert float(fit.scale) == pytest.approx(SCALE * factor, rel=0.01)
    np.testing.assert_allclose(fit.origin[0].numpy(), ORIGIN * factor, atol=1.5)
    turns = axis_angle_to_matrix(torch.cat([fit.global_orient, fit.body_pose], 1).view(24, 3)).numpy()
    np.testing.assert_allclose(turns, matrices(person), atol=1e-4)
    np.testing.assert_allclose(fit.betas[0].numpy(), person["betas"], atol=1e-5)
    assert imports.of("stranger.jpg") == []


def test_the_stage_checks_imports_and_says_where_there_is_none(tmp_path: Path, body: Body) -> None:
    person = truth()
    folder = tmp_path / "fits"
    folder.mkdir()
    write(folder, "hmr2", person, body)
    rows = [photo(body, person), photo(body, person)]
    rows[1]["person_id"] = rows[1]["photo_id"] = "other-2"
    rows[1]["path"] = "other.jpg"
    with write_shard(tmp_path / "mattes.zip", {}) as mattes:
        for row in rows:
            mattes.add_image(f"{row['person_id']}.png", np.full((SIZE[1], SIZE[0]), 255, np.uint8))
    write_verdicts(tmp_path / "mattes.zip", schemas.MATTES, {row["person_id"]: {} for row in rows})
    settings = Fitting(
        method="import", imports=FitImport(str(folder), "hmr2"), min_silhouette_iou=0.0, max_reprojection=0.2
    )
    table = to_table(
        fit_shard(pd.DataFrame(rows), ShardReader(tmp_path / "mattes.zip"), body, settings), schemas.FITS
    ).set_index("person_id")
    assert table.loc["walk-1", "status"] == "ok"
    assert table.loc["walk-1", "half"] == pytest.approx(SCALE, rel=0.02)
    assert table.loc["other-2", "status"] == "rejected"
    assert "no imported fit" in table.loc["other-2", "reason"]


def test_names_of_photographs() -> None:
    """Which a file of one person may have, the likeliest first."""
    for stem, kind, names in (
        ("walk/000", "smplifyx", ("walk", "walk/000")),
        ("walk/000", "hmr2", ("walk/000", "walk")),
        ("000", "smplifyx", ("000", "fits")),
        ("out/walk_1", "hmr2", ("out/walk_1", "out/walk")),
        ("out/IMG_2041", "hmr2", ("out/IMG_2041",)),
        ("_1", "hmr2", ("_1",)),
    ):
        assert possible_names(stem, {stem}, "fits", kind) == names
    assert possible_names("walk_1", {"walk_1", "walk_1_0"}, "fits", "hmr2") == ("walk",)


def fit(path: Path, number: float, betas: int = 10, **more: np.ndarray) -> None:
    """A fit of HMR2's of one person, known by the first beta."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"global_orient": np.eye(3)[None, None], "body_pose": np.tile(np.eye(3), (1, 23, 1, 1))}
    arrays |= {"betas": np.full((1, betas), number), "pred_cam": CAMERA[None], "box_center": BOX[None, :2]}
    np.savez(path, **(arrays | {"box_size": BOX[2:3]} | more))


def found(folder: Path, path: str, all_photographs: list[str] | None = None) -> list[float]:
    known = None if all_photographs is None else Photographs(all_photographs)
    return sorted(float(person.betas[0]) for person in Imports(FitImport(str(folder), "hmr2"), known).of(path))


@pytest.mark.parametrize("known", [False, True])
def test_nobody_takes_anothers_fit(tmp_path: Path, known: bool) -> None:
    files = [
        "001",
        "002",
        "id_1/01_1_front",
        "id_2/01_1_front",
        "photo_1",
        "photo_2",
        "写真 一",
        "a_12",
        "a_1_2",
        "b.v2_0",
    ]
    for number, name in enumerate(files):
        fit(tmp_path / f"{name}.npz", number)
    fit(tmp_path / unicodedata.normalize("NFD", "é.NPZ"), 90)
    (tmp_path / unicodedata.normalize("NFD", "é.NPZ.npz")).rename(tmp_path / unicodedata.normalize("NFD", "é.NPZ"))
    photographs = [f"{name.removesuffix('_0')}.JPG" for name in files] + ["id_3/01_1_front.jpg", "é.png"]
    paths = photographs if known else None
    for number, photograph in enumerate(photographs[: len(files)]):
        assert found(tmp_path, photograph, paths) == [number], photograph
    assert found(tmp_path, "id_3/01_1_front.jpg", paths) == []
    assert found(tmp_path, "é.png", paths) == [90]
    assert found(tmp_path, "01_1_front.jpg", [*photographs, "01_1_front.jpg"]) == []


def test_people_of_one_photograph(tmp_path: Path) -> None:
    for number, name in enumerate(["walk_0", "walk_1", "walk_1_0", "run_1", "run_2"]):
        fit(tmp_path / f"{name}.npz", number)
    paths = ["walk.jpg", "walk_1.jpg", "run.jpg", "run_1.jpg"]
    assert [found(tmp_path, path, paths) for path in paths] == [[0, 1], [2], [4], [3]]
    assert found(tmp_path, "run.jpg", ["run.jpg"]) == [3, 4]


def test_what_belongs_to_no_photograph_or_several_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path / "walk.npz", 1)
    fit(tmp_path / "gone.npz", 2)
    fit(tmp_path / "x" / "a.npz", 3, image_name=np.array([b"C:\\photos\\anna\\walk.jpg"]))
    paths = ["anna/walk.jpg", "ben/walk.jpg"]
    assert [found(tmp_path, path, paths) for path in paths] == [[3], []]
    assert "1 imported fits are of no photograph in the folder; passed over: gone" in caplog.text
    assert "several photographs, maybe; give folders; passed over: walk" in caplog.text
    fit(tmp_path / "y" / "b.npz", 4, image_name=np.array(["/data/ben/walk.jpg"]))
    imports = Imports(FitImport(str(tmp_path), "hmr2"), Photographs(["walk.jpg"]))
    assert imports.of("walk.jpg") == []
    assert "several folders" in imports.refused["walk.jpg"]


def test_frames_of_a_video_have_names_of_their_own(tmp_path: Path) -> None:
    fit(tmp_path / "clip-0a1b2c3d-f000012.npz", 1)
    fit(tmp_path / "clip_0.npz", 2)
    paths = ["clip.mp4", "clip-0a1b2c3d-f000012", "clip-0a1b2c3d-f000024"]
    assert [found(tmp_path, path, paths) for path in paths[1:]] == [[1], []]
    assert name_of("clip.mp4", paths[1]) == paths[1]


def test_shapes_of_any_length_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (8, 10, 16, 300):
        fit(tmp_path / f"b{number}x.npz", 1.0, betas=number)
    imports = Imports(FitImport(str(tmp_path), "hmr2"))
    for number in (8, 10, 16, 300):
        np.testing.assert_array_equal(imports.of(f"b{number}x.jpg")[0].betas, np.arange(10) < number)
    assert "b8x.npz: betas have 8 numbers instead of 10; the missing ones are taken as 0" in caplog.text
    assert "b300x.npz: betas have 300 numbers" in caplog.text
    assert "b10x" not in caplog.text
    for betas in (np.float64(1), np.zeros((1, 0)), np.zeros(0)):
        fit(tmp_path / "odd.npz", 1.0)
        np.savez(tmp_path / "odd.npz", **(dict(np.load(tmp_path / "odd.npz")) | {"betas": betas}))
        with pytest.raises(UserError, match="odd.npz is not as .*betas are"):
            Imports(FitImport(str(tmp_path), "hmr2"))


def test_people_that_are_none_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path / "walk.npz", np.nan)
    empty = {"global_orient": np.zeros((0, 1, 3)), "body_pose": np.zeros((0, 69)), "betas": np.zeros((0, 10))}
    empty |= {"pred_cam": np.zeros((0, 3)), "box_center": np.zeros((0, 2)), "box_size": np.zeros(0)}
    np.savez(tmp_path / "none.npz", **empty)
    assert found(tmp_path, "walk.jpg") == []
    assert "walk.npz: person 0 has values that are not finite" in caplog.text
    assert "none.npz holds no people" in caplog.text
    fit(tmp_path / "two.npz", 1, image_name=np.array(["a.jpg", "b.jpg"]))
    with pytest.raises(UserError, match=r"two\.npz .*2 names for 1 people"):
        found(tmp_path, "a.jpg")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.unlink(), "holds no .npz"),
        (lambda f: np.savez(f, betas=np.zeros((1, 10))), "lacks global_orient"),
        (lambda f: f.write_bytes(b"no archive"), "no .npz file"),
        (lambda f: f.write_bytes(b""), "no .npz file"),
        (lambda f: f.write_bytes(f.read_bytes()[:-40]), "no .npz file, or not all of it"),
        (lambda f: (f.unlink(), os.mkfifo(f)), "named pipe"),
        (lambda f: f.with_suffix(".PKL").write_bytes(b""), "walk_0.PKL"),
        (
            lambda f: f.with_suffix(".pkl").write_bytes(b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n."),
            "file of joblib must be saved anew",
        ),
        (
            lambda f: f.with_suffix(".pkl").write_bytes(pickle.dumps({"a": 1})[:-1] + bytes(64)),
            "file of joblib must be saved",
        ),
        (lambda f: f.with_suffix(".pkl").write_bytes(zlib.compress(b"x")), "joblib"),
        (lambda f: f.with_suffix(".pkl").write_bytes(pickle.dumps(Path("x"))), "was refused"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, body: Body, change, words: str) -> None:
    write(tmp_path, "hmr2", truth(), body)
    change(tmp_path / "walk_0.npz")
    with pytest.raises(UserError, match=words):
        Imports(FitImport(str(tmp_path), "hmr2"))
    with pytest.raises(UserError, match=r"fitting\.imports\.path"):
        Imports(FitImport(str(tmp_path / "nowhere"), "hmr2"))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-30], lambda data: data[:100], lambda data: b"", lambda data: b"x"]
)
def test_a_damaged_archive_is_named(tmp_path, damage):
    path = tmp_path / "walk.npz"
    np.savez(path, betas=np.zeros((1, 10)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="walk.npz"):
        Imports(FitImport(path=str(path), kind="hmr2"))
