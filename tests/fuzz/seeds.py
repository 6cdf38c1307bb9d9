"""Whole files of every kind that is read, small and made in code; the model's are in `seeds_model`."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageCms

from tests.fuzz import pickles as p
from tests.fuzz import zips

SIDE = 16
LABEL = [float(k % 7) / 10 for k in range(111)]


def through_file(write: Callable[[Path], object], name: str) -> bytes:
    """What `write` writes to a file of that name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


# ---- people: motions, codes, poses, fits


def imported_fits(kind: str) -> dict[str, np.ndarray]:
    turns = np.tile(np.eye(3), (2, 24, 1, 1))
    betas, camera = np.zeros((2, 10)), np.ones((2, 3))
    if kind == "pymaf":
        box = np.full((2, 4), 100.0)
        return {
            "rotmat": turns,
            "betas": betas,
            "pred_cam": camera,
            "bboxes": box,
            "image_name": np.array(["a/walk.jpg", "b.jpg"]),
        }
    if kind == "hmr2":
        whole = {"global_orient": turns[:1, :1], "body_pose": turns[:1, 1:], "betas": betas[:1], "pred_cam": camera[:1]}
        return {**whole, "box_center": np.full((1, 2), 50.0), "box_size": np.array([90.0])}
    pose = {"global_orient": np.zeros((1, 3)), "body_pose": np.zeros((1, 63)), "betas": betas[:1]}
    return {**pose, "camera_translation": np.array([[0, 0, 5.0]])}


def fits_npz(kind: str) -> list[bytes]:
    return [npz(**imported_fits(kind))]


def fits_pickle(kind: str) -> list[bytes]:
    values = {name: p.array(value) for name, value in imported_fits(kind).items() if value.dtype.kind != "U"}
    return [b"\x80\x04" + p.mapping(values) + b"."]


# ---- pictures


def picture(side: int = SIDE, channels: int = 4) -> np.ndarray:
    values = np.indices((side, side)).sum(0)[..., None] * np.arange(3, 3 + channels) % 256
    return values.astype(np.uint8)


def image(kind: str, mode: str = "RGB", side: int = SIDE, **options: Any) -> bytes:
    out = io.BytesIO()
    made = Image.fromarray(picture(side)).convert("RGBA" if mode == "I;16" else mode)
    if mode == "I;16":
        made = Image.fromarray(picture(side)[..., 0].astype(np.uint16) * 257)
    made.save(out, kind, **options)
    return out.getvalue()


def exif(turn: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = turn
    return made


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pngs() -> list[bytes]:
    modes = [image("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "I;16", "1")]
    return [*modes, image("PNG", icc_profile=profile()), image("PNG", exif=exif(6))]


def jpegs() -> list[bytes]:
    return [image("JPEG", mode) for mode in ("RGB", "L", "CMYK")] + [
        image("JPEG", progressive=True), image("JPEG", exif=exif(8)), image("JPEG", icc_profile=profile())
    ]  # fmt: skip


def other_pictures() -> list[bytes]:
    kinds = [image("WEBP"), image("WEBP", "RGBA", lossless=True), image("BMP"), image("TIFF", compression="tiff_lzw")]
    kinds += [image("TIFF", "I;16"), image("TIFF", "CMYK"), image("TIFF", exif=exif(5)), image("GIF", "P")]
    return [*kinds, image("AVIF", quality=50)]


def video() -> list[bytes]:
    from ag3d.model.imaging import write_video

    return [through_file(lambda path: write_video(path, [picture(32, 3)] * 6, 5), "a.mp4")]


# ---- zips


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def dataset_zips() -> list[bytes]:
    """Data sets of two people: written here, and by others."""
    normal = png(picture(SIDE, 3))
    entries = {f"img_{name}.png": png(picture()) for name in "ab"} | {f"normal_{name}.png": normal for name in "ab"}
    rows = {f"img_{name}.png": [LABEL[:25], LABEL[25:]] for name in "ab"}
    ours = {**entries, "dataset.json": as_json({"labels": rows}), "record.json": as_json({"stage": "dataset"})}
    others = {f"x/{name}": content for name, content in entries.items()}
    others["dataset.json"] = as_json({"labels": [[f"x/img_{name}.png", LABEL] for name in "ab"]})
    return [zips.pack(zips.stored(name, content) for name, content in each.items()) for each in (ours, others)]


def empty_dataset() -> bytes:
    return zips.pack([zips.stored("dataset.json", as_json({"labels": {}}))])


# ---- tables


def table(columns: dict[str, Any], record: dict[str, Any] | None = None) -> bytes:
    import pandas as pd

    from ag3d.core.files import write_table

    return through_file(lambda path: write_table(path, pd.DataFrame(columns), record or {}), "a.parquet")


VERDICTS = {"status": ["ok", "rejected"], "reason": ["", "too small"], "value": [None, 0.25]}
PERSON = {
    "person_id": ["walk-f000000", "walk-f000003"],
    "photo_id": ["walk-f000000", "walk-f000003"],
    "path": ["walk.mp4"] * 2,
}


def manifest() -> list[bytes]:
    sizes = {"width": [16, 16], "height": [16, 16], "scale": [1.0, 1.0], "frame": [-1, -1]}
    sizes["sha256"] = [hashlib.sha256(image("PNG")).hexdigest()] * 2
    photos = {"photo_id": ["walk", "run"], "path": ["walk.png", "run.png"], **sizes, **VERDICTS}
    return [table(photos, {"folder": ".", "settings": {"max_pixels": 1000, "frames_per_second": 2.0}})]


def listing() -> list[bytes]:
    return [table({"path": [b"a.jpg", b"b.jpg"], "size": [3, 4], "modified": [1, 2]})]


def people_table() -> list[bytes]:
    lists = {"box": [[0.0, 0, 9, 9], None], "landmarks_2d": [[1.0] * 66, None], "landmarks_3d": [[1.0] * 99, None]}
    return [table({**PERSON, **lists, "visibility": [[1.0] * 33, None], "label": [LABEL, None], **VERDICTS})]


def fits_table() -> list[bytes]:
    frame = {"centre_x": [8.0, 9.0], "centre_y": [8.0, 9.0], "half": [7.0, 7.0], "scale": [1.0, 1.0]}
    body = {
        "transl": [[0.0] * 3] * 2,
        "global_orient": [[0.1] * 3] * 2,
        "body_pose": [[0.1] * 69] * 2,
        "betas": [[0.0] * 10] * 2,
    }
    return [table({**PERSON, **frame, **body, "status": ["ok", "ok"], "reason": ["", ""], "value": [None, None]})]


def aligned_table() -> list[bytes]:
    return [
        table({**PERSON, "phash": ["0f" * 32, "f0" * 32], "sharpness": [1.0, 2.0], "label": [LABEL, None], **VERDICTS})
    ]


def rejected_people() -> list[bytes]:
    return [table({**PERSON, "status": ["rejected"] * 2, "reason": ["small"] * 2, "value": [0.25, None]})]


def rejected_table() -> list[bytes]:
    return [table({"photo_id": ["a"], "path": ["a.jpg"], "stage": ["people"], "reason": ["none"], "value": [None]})]


# ---- text


def configuration_json() -> list[bytes]:
    return [as_json({"training": {"kimg": 3}, "avatars": {"fps": 5}})]


def variants() -> list[bytes]:
    return [b"network:\n  departures:\n    steady_noise: false\ntraining:\n  r1_gamma: 2.0\n"]


def published() -> list[bytes]:
    known = {
        "method": "A",
        "data": "deepfashion-512",
        "protocol": "FID",
        "source": "B 2020",
        "image": 10.93,
        "normal": 3,
    }
    absent = {"method": "C", "data": "x", "protocol": "y", "source": "z"}
    return [yaml.safe_dump({"values": [known, absent]}).encode()]


def speed() -> list[bytes]:
    names = ("train_256_b8_s_per_kimg", "train_256_b8_peak_gb", "infer_512_b1_ms")
    return [
        as_json(
            [{"name": name, "device": "H200", "value": 9.5, "dtype": "float32", "reference": 3.0} for name in names]
        )
    ]


def features() -> list[bytes]:
    return [npz(a=np.ones((3, 4), np.float32))]


def truth() -> list[bytes]:
    measure = {"name": "a", "unit": "%", "mean": 0.5, "median": None, "p90": 1, "count": 3, "meaning": "b"}
    return [as_json({"stages": {"people": [measure]}})]


def times() -> list[bytes]:
    return [b"s\th:m:s\tmax_rss\tmax_vms\n2.5\t0:00:02\t120.5\t-\n3.5\t0:00:03\tNA\t1\n"]


def lists() -> list[bytes]:
    names = b"MEN/Denim/id_00000089/04_7_additional.jpg\nWOMEN/Dresses/id_00000002/02_1_front.jpg,x\n# a\n"
    return [names, as_json({"labels": {"img_a.png": [1], "img_b.jpg": []}})]


def scan_json() -> list[bytes]:
    return [as_json({"folder": "/photographs", "shards": 2, "number": 3, "fingerprints": {"0": "ab", "1": "cd"}})]


def normal_card() -> list[bytes]:
    return [as_json({"format": "ag3d normal network 1", "widths": [8, 8], "side": 32})]


def configurations() -> list[bytes]:
    folder = Path(__file__).resolve().parents[2]
    names = ("config/smoke.yaml", "config/ubcfashion.yaml", "config/ablations-cpu.yaml")
    texts = [(folder / name).read_bytes() for name in names]
    stages = {
        "network": {"image_resolution": 64},
        "training": {"kimg": 2.0, "stages": [{"from_kimg": 1, "learning_rate_g": 0.001}]},
    }
    own = {"export": {"motions": ["walk"]}, "matting": {"onnx": {"range": [0.0, 1.0]}}, "ablations": {"seeds": [0, 1]}}
    return [*texts, yaml.safe_dump(stages | own).encode()]


def _measured(run: str, kimg: float, value: float) -> dict[str, Any]:
    """A file of measurements: three distances, each with its protocol."""
    metrics = {}
    for stream in ("image", "normal", "face"):
        numbers = {"value": value, "deviation": 0.02, "low": 1.5, "high": 2.5, "bias": 0.1, "floor": 0.2}
        place = {"table": "frechet_embedded", "column": stream, "better": "lower", "main": True}
        counts = {"protocol_id": f"id-{stream}", "dimensions": 256, "fakes": 200, "reals": 150}
        metrics[f"frechet_embedded_{stream}"] = numbers | place | counts
    protocols = {metric["protocol_id"]: {"name": "frechet_embedded", "samples": 200} for metric in metrics.values()}
    return {"run": run, "kimg": kimg, "metrics": metrics, "protocols": protocols, "notes": ["few"]}


def measurements() -> list[bytes]:
    return [as_json(_measured("demo", 1.5, 2.0))]


def comparison_json() -> list[bytes]:

    from ag3d.evaluation.tables.comparison import comparison
    from ag3d.evaluation.tables.formats import to_json

    return [to_json(comparison([_measured("demo", 1.5, 2.0), _measured("other", 3.0, 1.0)])).encode()]


def onnx_network() -> list[bytes]:
    from support.onnx_files import brightness

    return [through_file(lambda path: brightness(path, [1, 3, 8, 8], 1), "a.onnx")]
