"""Make the avatars of a run: pictures and videos of a few generated people.

Writes samples.png (image, normals, raw rendering, depth of each), canonical.png, normals.png, raw.png, depth.png,
novel_view.mp4 (a sweep of 40°), turn.mp4 (all around), animation.mp4 (walking), interpolation.mp4 and .png (from person
to person), walk.npz (the walk in AMASS's layout), people/<seed>.png, latents.npz, avatars.json.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ag3d.config import Avatars, to_mapping
from ag3d.config.settings import add_options, from_options
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, repeatable
from ag3d.core.files import atomic, write_json
from ag3d.core.shards import save_png
from ag3d.model.avatars.generate import animation, interpolation, novel_view, sample_pictures, steps_round
from ag3d.model.avatars.identities import People, canonical_labels, read_poses
from ag3d.model.avatars.latents import write_latents
from ag3d.model.avatars.motion_sources import built_in, walk_motion
from ag3d.model.avatars.render_sheets import RenderStyle, arrange, write_frames
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.imaging import KINDS, grid, write_video

FILMED = 4  # people shown side by side in videos


def make_avatars(people: People, settings: Avatars, output: Path) -> None:
    """Write all the files."""
    posed = sample_pictures(people, people.label, settings.image_size)
    resting = sample_pictures(people, canonical_labels(people), settings.image_size)
    everyone = range(len(people))
    save_png(
        output / "samples.png",
        grid([[posed[kind][index] for index in everyone] for kind in ("image", "normal", "raw", "depth")]),
    )
    save_png(
        output / "canonical.png", grid([[resting[kind][index] for index in everyone] for kind in ("image", "normal")])
    )
    for kind, name in (("normal", "normals"), ("raw", "raw"), ("depth", "depth")):
        save_png(
            output / f"{name}.png",
            grid([[posed[kind][index] for index in everyone], [resting[kind][index] for index in everyone]]),
        )
    for index, seed in enumerate(people.seeds):
        save_png(output / "people" / f"{seed:06d}.png", grid([[posed[kind][index] for kind in KINDS]]))
    filmed = torch.arange(min(FILMED, len(people)))
    seeds = people.seeds[: len(filmed)]
    style = RenderStyle(("image", "normal"), settings.image_size)
    for name, degrees in (("novel_view", 40), ("turn", 360)):
        rendered = novel_view(people, filmed, steps_round(settings.frames, degrees), style)
        write_frames(output / f"{name}.mp4", rendered, style, settings.fps, seeds)
    with atomic(output / "walk.npz") as beside:
        np.savez(beside, allow_pickle=False, **walk_motion())
    motion = built_in("walk")
    motion = motion.resampled(settings.frames / len(motion) * motion.fps)
    rendered = animation(people, filmed, motion, style)
    write_frames(output / "animation.mp4", rendered, style, max(1, round(motion.fps)), seeds)
    strip = [arrange(frame.pictures(style), 1) for frame in interpolation(people, settings.frames, style)]
    wide = [np.concatenate(np.split(sheet, 2), axis=1) for sheet in strip]  # image and normals side by side
    write_video(output / "interpolation.mp4", wide, settings.fps)
    moments = np.linspace(0, len(strip) - 1, min(8, len(strip))).round().astype(int)
    save_png(output / "interpolation.png", grid([[strip[index] for index in moments]]))


def main() -> None:
    parser = console.parser("ag3d.model.avatars", __doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument("--body", type=Path, required=True, help="body file")
    parser.add_argument("--poses", type=Path, required=True, help="pose distribution (.npy)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    add_options(parser, Avatars)
    arguments = parser.parse_args()
    settings = from_options(Avatars, arguments)
    device = choose_device(arguments.device, "--device")
    repeatable(device)
    generator = load_generator(arguments.checkpoint, Body.load(arguments.body), device)
    people = People(
        generator, read_poses(arguments.poses), settings.number, settings.seed, settings.truncation, settings.batch
    )
    make_avatars(people, settings, arguments.output)
    write_latents(arguments.output / "latents.npz", people.ws, people.label, people.seeds)
    inputs = [arguments.checkpoint / "generator_ema.safetensors", arguments.poses, arguments.body]
    record = provenance.record("avatars", to_mapping(settings), inputs)
    write_json(
        arguments.output / "avatars.json",
        {"seeds": people.seeds, "filmed": people.seeds[: min(FILMED, len(people))], **record},
    )
