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
from ag3d.core.files import atomic, write_json
from ag3d.core.shards import save_png
from ag3d.model.avatars.command import add_network_options, open_network
from ag3d.model.avatars.generate import animation, interpolation, novel_view, sample_pictures, steps_round
from ag3d.model.avatars.identities import People, canonical_labels, read_poses
from ag3d.model.avatars.latents import write_latents
from ag3d.model.avatars.motion_sources import built_in, walk_motion
from ag3d.model.avatars.render_sheets import RenderStyle, arrange, write_frames
from ag3d.model.imaging import KINDS, grid, write_video

FILMED = 4  # people shown side by side in videos


def make_avatars(people: People, settings: Avatars, output: Path) -> None:
    """Write all the files."""
    posed = sample_pictures(people, people.label, settings.image_size)
    resting = sample_pictures(people, canonical_labels(people), settings.image_size)
    sheets = {
        "samples": [posed[kind] for kind in ("image", "normal", "raw", "depth")],
        "canonical": [resting["image"], resting["normal"]],
        "normals": [posed["normal"], resting["normal"]],
        "raw": [posed["raw"], resting["raw"]],
        "depth": [posed["depth"], resting["depth"]],
    }
    for name, rows in sheets.items():
        save_png(output / f"{name}.png", grid([list(row) for row in rows]))
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
    add_network_options(parser)
    parser.add_argument("--poses", type=Path, required=True, help="pose distribution (.npy)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    add_options(parser, Avatars)
    arguments = parser.parse_args()
    settings = from_options(Avatars, arguments)
    generator, poses = open_network(arguments), read_poses(arguments.poses)
    people = People(generator, poses, settings.number, settings.seed, settings.truncation, settings.batch)
    make_avatars(people, settings, arguments.output)
    write_latents(arguments.output / "latents.npz", people.ws, people.label, people.seeds)
    inputs = [arguments.checkpoint / "generator_ema.safetensors", arguments.poses, arguments.body]
    record = provenance.record("avatars", to_mapping(settings), inputs)
    shown = {"seeds": people.seeds, "filmed": people.seeds[:FILMED]}
    write_json(arguments.output / "avatars.json", shown | record)
