"""A whole folder of results, small and made on the spot: every file that the report reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pandas as pd
import torch
from PIL import Image
from support.stage_tables import write_verdicts

from ag3d.config import Network
from ag3d.core.files import sha256, write_json, write_table
from ag3d.core.shards import save_png, write_shard
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import render_normals
from ag3d.preprocessing import schemas

# SMPL joints nearest to BlazePose's 33 landmarks
JOINT_OF = [15] * 11 + [16, 17, 18, 19, 20, 21, 22, 23, 22, 23, 22, 23, 1, 2, 4, 5, 7, 8, 7, 8, 10, 11]
PHOTO = (240, 320)  # width, height


def person_labels(count: int, seed: int = 0) -> torch.Tensor:
    """[count,111], turning once about the vertical."""
    random = np.random.default_rng(seed)
    angle = torch.linspace(0, 2 * np.pi, count + 1)[:-1]
    orient = torch.stack([torch.cos(angle / 2) * np.pi, torch.zeros(count), torch.sin(angle / 2) * np.pi], dim=1)
    pose = torch.from_numpy(random.normal(0, 0.08, (count, 69)).astype(np.float32))
    betas = torch.from_numpy(random.normal(0, 1, (count, 10)).astype(np.float32))
    return labels.pack(torch.tensor([[0, 0.15, 0.0]]).repeat(count, 1), orient, pose, betas)


def render(body: Body, label: torch.Tensor, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal map uint8 [side,side,3] on white, and mask."""
    normals, mask = render_normals(body.from_label(label[None]).vertices[0], body.faces, side)
    image = np.rint((normals.numpy() + 1) * 127.5).astype(np.uint8)
    image[~mask.numpy()] = 255
    return image, mask.numpy()


def make_data(root: Path, body: Body, people: int = 6, side: int = 64) -> Path:
    """results/<dataset>: `people` who passed, one rejected at each of three stages, one file that is no photograph."""
    random = np.random.default_rng(1)
    photographs = root / "synthetic" / "photos"
    photographs.mkdir(parents=True)
    label = person_labels(people)
    half, centre = 140.0, (PHOTO[0] / 2, PHOTO[1] / 2)
    names = [f"person-{k:02d}" for k in range(people)]
    out = {
        "broken-aa": ("photos", "damaged image"),
        "nobody-bb": ("people", "nobody found"),
        "bent-cc": ("fitting", "landmark error"),
    }
    tables: dict[str, list[dict]] = {"photos": [], "people": [], "fitting": []}
    with torch.no_grad():
        joints = body.from_label(label).joints.numpy()
    record = {"folder": "../synthetic/photos", "settings": {"max_pixels": 16_000_000}}

    def ok(name: str, stage: str) -> dict:
        at, why = out.get(name, ("", ""))
        rejected = at == stage
        verdict = (
            {"status": "rejected", "reason": why, "value": 0.25}
            if rejected
            else {"status": "ok", "reason": "", "value": None}
        )
        return {"photo_id": name, "person_id": name, "path": f"{name}.jpg", **verdict}

    for k, name in enumerate([*names, *out]):
        j = k % people
        canvas = np.full((PHOTO[1], PHOTO[0], 3), 200, np.uint8)
        normal, mask = render(body, label[j], int(2 * half))
        x0, y0 = int(centre[0] - half), int(centre[1] - half)
        inside = normal[max(0, -y0) : PHOTO[1] - y0, max(0, -x0) : PHOTO[0] - x0]
        covered = mask[max(0, -y0) : PHOTO[1] - y0, max(0, -x0) : PHOTO[0] - x0]
        part = canvas[max(0, y0) :, max(0, x0) :][: inside.shape[0], : inside.shape[1]]
        part[covered] = inside[covered]
        if name == "broken-aa":
            (photographs / f"{name}.jpg").write_text("no image")
        else:
            Image.fromarray(canvas).save(photographs / f"{name}.jpg", quality=92)
        size = {
            "width": PHOTO[0],
            "height": PHOTO[1],
            "scale": 1.0,
            "sha256": sha256(photographs / f"{name}.jpg"),
            "frame": -1,
        }
        tables["photos"].append({**ok(name, "photos"), **size})
        if name == "broken-aa":
            continue
        points = np.array(centre) + half * joints[j][JOINT_OF, :2]
        found = name != "nobody-bb"
        tables["people"].append(
            {
                **ok(name, "people"),
                "box": [*points.min(0), *points.max(0)] if found else None,
                "landmarks_2d": points.ravel().tolist() if found else None,
                "visibility": [1.0] * 33 if found else None,
                "landmarks_3d": (joints[j][JOINT_OF] - joints[j][0]).ravel().tolist() if found else None,
                "score": 0.9,
                "people": int(found),
            }
        )
        if not found:
            continue
        parts = labels.split(label[j : j + 1])
        tables["fitting"].append(
            {
                **ok(name, "fitting"),
                **{"centre_x": centre[0], "centre_y": centre[1], "half": half, "scale": 1.0},
                **{f: getattr(parts, f)[0].tolist() for f in ("transl", "global_orient", "body_pose", "betas")},
                **{"reprojection": 0.01, "reprojection_px": 2.0, "silhouette_iou": 0.9},
            }
        )
    for stage, rows in tables.items():
        write_table(root / stage / "00000.parquet", pd.DataFrame(rows), record)

    masked = [*names, "bent-cc"]
    with write_shard(root / "matting" / "00000.zip", {}) as shard:
        for name in masked:
            image = np.asarray(Image.open(photographs / f"{name}.jpg"))
            shard.add_image(
                f"{name}.png", np.where(np.abs(image.astype(int) - 200).max(-1) > 20, 255, 0).astype(np.uint8)
            )
    write_verdicts(root / "matting" / "00000.zip", schemas.MATTES, {name: {} for name in masked})
    pairs = {}
    with (
        write_shard(root / "alignment" / "00000.zip", {}) as aligned,
        write_shard(root / "normals" / "00000.zip", {}) as maps,
    ):
        for k, name in enumerate(names):
            normal, mask = render(body, label[k], side)
            color = np.broadcast_to(random.integers(40, 220, 3), (side, side, 3))
            rgba = np.dstack([np.where(mask[..., None], color, 255), mask * 255]).astype(np.uint8)
            pairs[name] = (rgba, normal)
            aligned.add_image(f"{name}.png", rgba)
            maps.add_image(f"{name}.png", normal)
    with_labels = {name: {"label": label[k].tolist()} for k, name in enumerate(names)}
    write_verdicts(root / "alignment" / "00000.zip", schemas.ALIGNED, with_labels)
    write_verdicts(root / "normals" / "00000.zip", schemas.NORMALS, {name: {} for name in names})
    with write_shard(root / "dataset" / "00000.zip", {"made": "here"}) as shard:
        for name, (rgba, normal) in pairs.items():
            shard.add_image(f"img_{name}.png", rgba)
            shard.add_image(f"normal_{name}.png", normal)
        rows_ = {f"img_{n}.png": [label[k][:25].tolist(), label[k][25:].tolist()] for k, n in enumerate(names)}
        shard.add_json("dataset.json", {"labels": rows_})
    np.save(root / "poses.npy", label.numpy())
    rejected = [
        {"photo_id": n, "path": f"{n}.jpg", "stage": s, "reason": r, "value": 0.25} for n, (s, r) in out.items()
    ]
    write_table(root / "rejected.parquet", pd.DataFrame(rejected), {})
    write_json(root / "index.json", {"number": people})
    benchmark(root / "benchmarks" / "photos" / "00000.tsv", 2.0, 120)
    benchmark(root / "benchmarks" / "photos" / "00001.tsv", 3.0, 150)
    return root


def benchmark(path: Path, seconds: float, memory: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{memory}\n")


def measurements(run: str, kimg: float, value: float) -> dict:
    names = [f"frechet_embedded_{s}" for s in ("image", "normal", "face")]
    metrics = {
        name: {
            **{"value": value, "deviation": 0.02, "low": value - 0.04, "high": value + 0.04, "bias": 0.1, "floor": 0.2},
            **{"table": "frechet_embedded", "column": name.split("_")[-1], "better": "lower", "main": True},
            **{"protocol_id": f"id-{name}", "dimensions": 256, "fakes": 200, "reals": 150},
        }
        for name in names
    }
    protocols = {f"id-{name}": {"name": "frechet_embedded", "samples": 200} for name in names}
    return {"run": run, "kimg": kimg, "metrics": metrics, "protocols": protocols, "notes": ["few"]}


def make_run(root: Path) -> Path:
    """results/<run>: two milestones, curves, previews, avatars, tables."""
    from ag3d.evaluation.tables.ablations import ablations
    from ag3d.evaluation.tables.comparison import comparison
    from ag3d.evaluation.tables.formats import write_tables

    network = {"image_resolution": Network().image_resolution}
    measured = []
    # The last is of earlier settings: it must not be taken for this run's.
    for name, kimg, value in (("000001.5", 1.5, 2.0), ("000003", 3.0, 1.25), ("000009", 9.0, 0.5)):
        write_json(root / "training" / name / "checkpoint.json", {"kimg": kimg, "network": network})
        write_json(root / "metrics" / f"{name}.json", measurements(root.name, kimg, value))
        save_png(root / "metrics" / f"{name}.neighbours.png", np.full((32, 96, 3), int(40 * kimg) % 255, np.uint8))
        if kimg < 9:
            measured.append(measurements(root.name, kimg, value))
    write_tables(comparison(measured), root / "tables" / "comparison")
    write_tables(ablations({"full": measured, "without-thing": measured}), root / "tables" / "ablations")
    (root / "training" / "previews").mkdir(parents=True)
    lines = [
        {
            "images": k * 200,
            "kimg": k * 0.2,
            "loss/G": 1 + 1 / k,
            "loss/D": 1.0,
            "logit/real/full": 0.1 * k,
            "logit/fake/full": -0.1 * k,
            "beta": 0.1,
        }
        for k in range(1, 16)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (root / "training" / "metrics.jsonl").write_text(text + '{"images": 3200, "cut o')
    random = np.random.default_rng(0)
    for name in ("000000200", "000001000", "000003000", "reals"):
        save_png(root / "training" / "previews" / f"{name}.png", random.integers(0, 255, (96, 192, 3), dtype=np.uint8))
    avatars = root / "avatars"
    for name in ("samples", "canonical", "normals", "raw", "depth", "interpolation"):
        save_png(avatars / f"{name}.png", random.integers(0, 255, (64, 128, 3), dtype=np.uint8))
    for name in ("novel_view", "turn", "animation", "interpolation"):
        (avatars / f"{name}.mp4").write_bytes(video(random))
    write_json(avatars / "avatars.json", {})
    save_png(root / "export" / "meshes.png", random.integers(0, 255, (64, 128, 3), dtype=np.uint8))
    write_json(root / "export" / "export.json", {})
    (root / "viewer.html").write_text("<!DOCTYPE html>")
    benchmark(root / "benchmarks" / "training" / "1.5.tsv", 100.0, 2000)
    return root


def video(random: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    frames = [random.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(3)]
    imageio.mimwrite(buffer, frames, format="mp4", fps=5, macro_block_size=1)  # type: ignore[call-overload]
    return buffer.getvalue()
