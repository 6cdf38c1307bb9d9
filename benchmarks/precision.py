"""Whether a training in bfloat16 goes as one in float32 does: the losses of both, step by step.

Trains the same network thrice from the same weights on the same photographs in the same order: in float32 (without TF32), in
`--precision` with the same noise, and in float32 with other noise (latent codes, poses, noise images, places of samples). The third run tells by
how much two trainings differ that differ in luck alone. Prints for each loss the mean difference of the smoothed curves
as a share of the loss. Writes benchmarks/results/precision.json and draws the curves beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from ag3d.config import Network, Training, load
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name
from ag3d.core.errors import UserError
from ag3d.core.files import write_json
from ag3d.model.body.body import Body
from ag3d.model.precision import allow_tf32
from ag3d.model.training.data import Batch, Loader, Sampler, ZipDataset
from ag3d.model.training.trainer import Trainer, TrainerOptions

RESULTS = Path(__file__).with_name("results") / "precision.json"
LOSSES = {"D": "loss/D", "G": "loss/G", "R1": "loss/R1", "eikonal": "loss/eikonal"}
Curves = dict[str, np.ndarray]  # by loss: [n,2], steps and values


def arguments() -> argparse.Namespace:
    parser = console.parser("precision", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="zips of a data set, or folders of them")
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--poses", type=Path, help="labels of generated people (.npy; default: the data set's)")
    parser.add_argument("--config", type=Path, help="experiment whose network and training are used")
    parser.add_argument("--image", type=int, default=128, help="without --config: side of the images")
    parser.add_argument("--batch", type=int, default=16, help="without --config")
    parser.add_argument("--steps", type=int, default=200, help="of each training (default: %(default)s)")
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "tf32"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def read(data: list[Path], side: int) -> ZipDataset:
    zips = [zip_ for path in data for zip_ in (sorted(path.glob("*.zip")) if path.is_dir() else [path])]
    if not zips:
        raise UserError(f"no zip in {', '.join(map(str, data))}")
    return ZipDataset(zips, side, cache_bytes=4 << 30)


def losses(trainer: Trainer, batches: list[Batch], what: str) -> Curves:
    """Train on the batches."""
    curves: dict[str, list[tuple[int, float]]] = {name: [] for name in LOSSES}
    for step, batch in enumerate(console.progress(batches, what, len(batches), "step")):
        trainer.step(batch)
        means = trainer.averages.means()
        trainer.averages.clear()
        for name, key in LOSSES.items():
            if key in means:
                curves[name].append((step, means[key]))
    return {name: np.array(pairs).reshape(-1, 2) for name, pairs in curves.items()}


def smooth(curve: np.ndarray) -> np.ndarray:
    """A curve [n,2] as its moving mean over a tenth of the training."""
    width = max(1, round(len(curve) / 10))
    kernel = np.ones(width) / width
    return np.stack([np.convolve(curve[:, column], kernel, "valid") for column in (0, 1)], axis=1)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of two smoothed curves [n,2], as a share of the second's mean size."""
    return float(np.abs(one[:, 1] - other[:, 1]).mean() / max(np.abs(other[:, 1]).mean(), 1e-12))


def draw(path: Path, runs: dict[str, Curves]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for axis, name in zip(axes.flat, LOSSES):
        for (title, curves), colour in zip(runs.items(), ("C0", "C3", "0.6")):
            axis.plot(*curves[name].T, color=colour, linewidth=0.5, alpha=0.4)
            axis.plot(*smooth(curves[name]).T, color=colour, label=title)
        axis.set(title=name, xlabel="step")
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    if args.config:
        experiment = load(yaml.safe_load(args.config.read_text(encoding="utf-8")))
        network, settings = experiment.network, experiment.training
    else:
        network, settings = Network(image_resolution=args.image), Training(batch_size=args.batch)
    body = Body.load(args.body)
    dataset = read(args.data, network.image_resolution)
    poses = torch.from_numpy(np.load(args.poses) if args.poses else dataset.labels).float()
    loader = Loader(dataset, Sampler(len(dataset), settings.seed), settings.batch_size)
    batches = [batch for _, batch in zip(range(args.steps), loader)]
    loader.close()
    card = device_name(device)
    print(
        f"{provenance.code_version()}  {card}  torch {torch.__version__}  {len(dataset)} people, {args.steps} steps of {settings.batch_size}"
    )
    runs: dict[str, Curves] = {}
    other = f"{args.precision}, same noise"
    for title, precision, seed in (
        ("float32", "float32", 0),
        (other, args.precision, 0),
        ("float32, other noise", "float32", 1),
    ):
        allow_tf32(precision)
        # Recorded, float32 convolutions of 512 pixels would keep more workspace than a card has.
        trainer = Trainer(
            settings, network, body, poses, TrainerOptions(device, precision=precision, cuda_graphs=False)
        )
        trainer.settings = dataclasses.replace(settings, seed=settings.seed + seed)  # after the weights were drawn
        runs[title] = losses(trainer, batches, title)
        del trainer
        gc.collect()  # its parts refer to each other
        if device.type == "cuda":
            torch.cuda.empty_cache()
    base, mine, luck = ({name: smooth(curve) for name, curve in run.items()} for run in runs.values())
    rows: list[dict[str, Any]] = []
    for name in LOSSES:
        value, natural = difference(mine[name], base[name]), difference(luck[name], base[name])
        rows.append(
            {"name": f"precision_{name}", "commit": provenance.code_version(), "device": card, "dtype": args.precision}
            | {"value": value, "unit": "share", "reference": natural, "ratio": natural / value if value else None}
            | {"curves": {title: np.round(run[name], 5).tolist() for title, run in runs.items()}}
        )
        print(f"{name:8s} {args.precision} differs from float32 by {value:.2%}, other noise by {natural:.2%}")
    write_json(args.output, rows)
    draw(args.output.with_suffix(".png"), runs)


if __name__ == "__main__":
    console.run(main)
