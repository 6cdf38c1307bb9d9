"""Make images and videos of generated people from a checkpoint.

    samples        posed people: image, raw rendering, normals, depth
    canonical      the same people with their arms out
    grid           every person (from top to bottom) in everybody's pose (from left to right)
    novel-view     each person from moving cameras, all around or in a sweep; or turning before the camera
    interpolation  from person to person and from pose to pose, or one of the two
    animation      people moved by a motion file (AMASS: SMPL, SMPL-H, SMPL-X), the fits of a video, a built-in walk or wave
    invert         the person of an aligned photograph, as style codes for all of the above

The suffix of --output says what is written: .png, .npz (the numbers), and for moving things also .mp4 or .gif. The same
command gives the same bytes on the same machine. `ag3d generate WHAT --help` tells the options of each.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ag3d.config import Avatars
from ag3d.config.settings import add_options, from_options
from ag3d.core import console
from ag3d.core.console import progress
from ag3d.core.errors import UserError
from ag3d.model.avatars import invert
from ag3d.model.avatars.command import add_network_options, open_network
from ag3d.model.avatars.identities import (
    People,
    SavedPeople,
    canonical_labels,
    interpolate_labels,
    orbit_view,
    read_poses,
    with_betas,
)
from ag3d.model.avatars.latents import read_latents, write_latents
from ag3d.model.avatars.motion import Motion, motion_labels
from ag3d.model.avatars.motion_sources import NAMES, named_motion
from ag3d.model.avatars.render_sheets import (
    MOVING_SUFFIXES,
    RENDER_KINDS,
    STILL_SUFFIXES,
    RenderedFrame,
    RenderStyle,
    render_frame,
    render_frames,
    write_frames,
    write_still,
)
from ag3d.model.generator import Generator
from ag3d.model.imaging import KINDS

_LINES = dict(re.findall(r"^    (\S+) +(.*)$", __doc__, re.M))
MOST_PEOPLE = 10_000
_STILL, _MOVING = ("samples", "canonical", "grid"), ("novel-view", "interpolation", "animation")


def sample_pictures(people: People, label: torch.Tensor, side: int) -> dict[str, np.ndarray]:
    """Every kind of picture of everybody: uint8 [n,side,side,3] each."""
    style = RenderStyle(KINDS, side)
    return render_frame(people, label, torch.arange(len(people)), style).pictures(style)


def everybody_in_every_pose(people: People, style: RenderStyle) -> RenderedFrame:
    """n × n people: the first in the poses of all, then the second, …"""
    count = len(people)
    person = torch.arange(count).repeat_interleave(count)
    label = with_betas(people.label.repeat(count, 1), people.label[person])
    return render_frame(people, label, person, style, people.planes())


def views(people: People, angles: np.ndarray, by: str = "camera") -> list[torch.Tensor]:
    """Labels [n,111] of everybody from around, for each of `angles` (radians)."""
    return [orbit_view(people.label, float(angle), people.generator, by) for angle in angles]


def steps_round(frames: int, degrees: float) -> np.ndarray:
    """Angles (radians) that repeat without a gap: all around, or a sweep to both sides, `degrees` wide."""
    share = 2 * np.pi * np.arange(frames) / frames
    return share if degrees >= 360 else np.radians(degrees) / 2 * np.sin(share)


def novel_view(people: People, which: torch.Tensor, angles: np.ndarray, style: RenderStyle, by: str = "camera") -> Iterator[RenderedFrame]:  # fmt: skip
    """The people `which` from around."""
    return render_frames(people, which, [label[which] for label in views(people, angles, by)], style, "novel views")


def animation(
    people: People, which: torch.Tensor, motion: Motion, style: RenderStyle, follow: bool = True
) -> Iterator[RenderedFrame]:
    """The people `which` doing a motion."""
    tracks = [motion_labels(motion, people.betas[person].cpu(), follow) for person in which]
    return render_frames(people, which, list(torch.stack(tracks, dim=1).to(people.label.device)), style, "animation")


def interpolation(
    people: People, frames: int, style: RenderStyle, between: str = "both", closed: bool = True
) -> Iterator[RenderedFrame]:
    """From each person to the next, and back to the first where it is `closed`.

    between: `identity` (style and build, in the first one's pose), `pose` (the first person in everybody's poses) or `both`.
    """
    count = len(people)
    ways = count if closed else count - 1
    for step in progress(range(frames), "interpolation", frames, "frame"):
        position = step / frames * ways if closed else step / max(1, frames - 1) * ways
        first = min(int(position), count - 1)
        second, share = (first + 1) % count, position - first
        label = interpolate_labels(people.label[first : first + 1], people.label[second : second + 1], share)
        ws = torch.lerp(people.ws[first], people.ws[second], share)[None]
        if between == "identity":
            label = with_betas(people.label[:1], label)
        elif between == "pose":
            label, ws = with_betas(label, people.label[:1]), people.ws[:1]
        yield render_frame(people, label, torch.tensor([first]), style, ws=ws)


def seeds_of(text: str) -> list[int]:
    """'3,7,10-12' to [3, 7, 10, 11, 12]. Raises UserError."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"--seeds {text}: expected numbers and ranges such as 3,7,10-12")
        people = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(seeds) + people.stop - people.start > MOST_PEOPLE:
            raise UserError(f"--seeds {text}: at most {MOST_PEOPLE:,} people at once")
        seeds += people
    if len(set(seeds)) < len(seeds) or max(seeds) >= 2**63:
        raise UserError(f"--seeds {text}: every person once, please, and numbers below 2^63")
    return seeds


def find_people(generator: Generator, arguments: argparse.Namespace, seeds: list[int], settings: Avatars) -> People:
    """The people that the options --seeds, --seed, --number, --ws and --poses name. Raises UserError."""
    poses = read_poses(arguments.poses) if arguments.poses else None
    if arguments.ws:
        latents = read_latents(arguments.ws, generator.num_ws, generator.settings.w_dim)
        return SavedPeople(
            generator, latents.select(seeds, str(arguments.ws)) if seeds else latents, poses, settings.batch
        )
    if poses is None:
        raise UserError("--poses is missing: the pose distribution (.npy) that poses and builds are drawn from")
    return People(generator, poses, settings.number, settings.seed, settings.truncation, settings.batch, seeds)


def check_output(what: str, output: Path) -> None:
    """Raises UserError where the suffix does not fit what is to be made."""
    allowed = STILL_SUFFIXES if what in _STILL else MOVING_SUFFIXES
    if output.suffix not in allowed:
        raise UserError(f"--output {output}: the name of a file of '{what}' ends in {' or '.join(allowed)}")


def kinds_of(text: str) -> tuple[str, ...]:
    """'image,normal' to its parts. Raises UserError."""
    kinds = tuple(part.strip() for part in text.split(","))
    unknown = [kind for kind in kinds if kind not in RENDER_KINDS]
    if unknown or len(set(kinds)) < len(kinds):
        raise UserError(f"--show {text}: give one or more of {', '.join(RENDER_KINDS)}, each once")
    return kinds


def make(arguments: argparse.Namespace) -> None:
    settings = from_options(Avatars, arguments)
    what, output = arguments.what, arguments.output
    check_output(what, output)
    if arguments.columns < 1 or not 16 <= arguments.voxels <= 1024:
        raise UserError("--columns must be at least 1, and --voxels between 16 and 1024")
    style = RenderStyle(kinds_of(arguments.show), settings.image_size, arguments.voxels, arguments.columns)
    seeds = seeds_of(arguments.seeds) if arguments.seeds else []
    motion = named_motion(arguments.motion).resampled(settings.fps) if what == "animation" else None
    people = find_people(open_network(arguments), arguments, seeds, settings)
    everyone = torch.arange(len(people))
    if what == "grid":
        style.columns = len(people)
        write_still(output, everybody_in_every_pose(people, style), style, people.seeds)
    elif what in _STILL:
        label = people.label if what == "samples" else canonical_labels(people)
        write_still(output, render_frame(people, label, everyone, style), style, people.seeds)
    elif what == "novel-view":
        angles = steps_round(settings.frames, arguments.degrees)
        frames = novel_view(people, everyone, angles, style, arguments.by)
    elif what == "interpolation":
        frames = interpolation(people, settings.frames, style, arguments.between, not arguments.once)
    else:
        assert motion is not None
        frames = animation(people, everyone, motion, style, not arguments.stay)
    if what in _MOVING:
        write_frames(output, frames, style, settings.fps, people.seeds)
    console.log.info("wrote %s", output)
    if arguments.save_ws:
        write_latents(arguments.save_ws, people.ws, people.label, people.seeds)
        console.log.info("wrote %s", arguments.save_ws)


def main() -> None:
    parser = console.parser("ag3d.model.avatars.generate", __doc__)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT", title="what to make")
    parsers = {
        what: kinds.add_parser(what, help=_LINES[what], description=_LINES[what]) for what in (*_STILL, *_MOVING)
    }
    for what, one in parsers.items():
        _common(one, what)
    parsers["novel-view"].add_argument(
        "--degrees", type=float, default=360, help="how wide a sweep is; 360: all around (default: %(default)s)"
    )
    parsers["novel-view"].add_argument(
        "--by", choices=("camera", "body"), default="camera", help="what moves (default: %(default)s)"
    )
    parsers["interpolation"].add_argument(
        "--between", choices=("identity", "pose", "both"), default="both", help="what changes (default: %(default)s)"
    )
    parsers["interpolation"].add_argument("--once", action="store_true", help="end at the last, not at the first again")
    parsers["animation"].add_argument("--motion", default="walk", help=f"{NAMES} (default: %(default)s)")
    parsers["animation"].add_argument("--stay", action="store_true", help="the camera stays where it is")
    invert.add_options(kinds.add_parser("invert", help=_LINES["invert"], description=invert.__doc__))
    arguments = parser.parse_args()
    (invert.main if arguments.what == "invert" else make)(arguments)


def _common(parser: argparse.ArgumentParser, what: str) -> None:
    """The options of all but `invert`."""
    suffixes = ", ".join(STILL_SUFFIXES if what in _STILL else MOVING_SUFFIXES)
    default_kinds = {"samples": KINDS, "canonical": KINDS, "grid": ("image",)}.get(what, ("image", "normal"))
    add_network_options(parser)
    parser.add_argument("--poses", type=Path, help="pose distribution (.npy); may be left out where --ws has poses")
    parser.add_argument("--output", type=Path, required=True, help=f"file to write: {suffixes}")
    parser.add_argument("--seeds", default="", help="these people instead of --seed and --number: 3,7,10-12")
    parser.add_argument("--ws", type=Path, help="people of a file of style codes (.npz, .npy) instead of random ones")
    parser.add_argument("--save-ws", type=Path, help="also write the people's style codes (.npz), for --ws")
    parser.add_argument(
        "--show",
        default=",".join(default_kinds),
        metavar="KINDS",
        help=f"what is shown, from top to bottom: {', '.join(RENDER_KINDS)} (default: %(default)s)",
    )
    parser.add_argument("--columns", type=int, default=8, help="people side by side (default: %(default)s)")
    parser.add_argument(
        "--voxels", type=int, default=128, help="mesh: voxels along the body's longest side (default: %(default)s)"
    )
    add_options(parser, Avatars)


if __name__ == "__main__":
    console.run(main)
