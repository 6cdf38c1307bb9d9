"""Make images and videos of generated people from a checkpoint.

    samples        posed people: image, raw rendering, normals, depth
    canonical      the same people with their arms out
    novel-view     each person from moving cameras (--degrees 40: a sweep; 360: all around)
    interpolation  from person to person, and from pose to pose
    animation      people moved by a motion file (AMASS: SMPL, SMPL-H, SMPL-X), or by a built-in walk or wave

The same command gives the same bytes on the same machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ag3d import console
from ag3d.config import Avatars
from ag3d.config.settings import add_options, from_options
from ag3d.console import progress
from ag3d.device import choose_device
from ag3d.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.inference.motion import Motion, motion_labels, read_motion
from ag3d.model.inference.people import People, blended, canonical, read_poses, turned
from ag3d.model.inference.pictures import KINDS, enlarge, grid, pictures_of, to_uint8, write_video
from ag3d.model.inference.walking import BUILT_IN, built_in
from ag3d.shards import save_png

STILLS = ("samples", "canonical")


def sample_pictures(people: People, label: torch.Tensor, side: int) -> dict[str, np.ndarray]:
    """Every kind of picture of everybody: uint8 [n,side,side,3] each."""
    batches = [pictures_of(out, side) for out in people.render(label, torch.arange(len(people)))]
    return {kind: np.concatenate([batch[kind] for batch in batches]) for kind in KINDS}


def film(people: People, which: torch.Tensor, views: list[torch.Tensor], side: int, what: str) -> list[np.ndarray]:
    """A frame for each of `views` (labels [n,111]): images of the people `which` [n] above their normals."""
    planes = people.planes()
    frames = []
    for label in progress(views, what, len(views), "frame"):
        outs = list(people.render(label, which, planes))
        images = np.concatenate([to_uint8(out["image"]) for out in outs])
        normals = np.concatenate([to_uint8(out["image_normal"]) for out in outs])
        frames.append(grid([[enlarge(picture, side) for picture in row] for row in (images, normals)]))
    return frames


def novel_view(people: People, which: torch.Tensor, angles: np.ndarray, side: int) -> list[np.ndarray]:
    """Frames of the people `which` from cameras turned by `angles` (radians)."""
    views = [turned(people.label[which], float(angle), people.generator) for angle in angles]
    return film(people, which, views, side, "novel views")


def animation(people: People, which: torch.Tensor, motion: Motion, side: int, follow: bool = True) -> list[np.ndarray]:
    """Frames of the people `which` doing a motion."""
    device = people.label.device
    tracks = [motion_labels(motion, people.betas[person].cpu(), follow) for person in which]
    views = list(torch.stack(tracks, dim=1).to(device))  # F of [n,111]
    return film(people, which, views, side, "animation")


def interpolation(people: People, frames: int, side: int) -> list[np.ndarray]:
    """Frames that go from each person and pose to the next, and back to the first."""
    pictures = []
    for step in progress(range(frames), "interpolation", frames, "frame"):
        place = step / frames * len(people)
        first, share = int(place), place - int(place)
        second = (first + 1) % len(people)
        ws = torch.lerp(people.ws[first], people.ws[second], share)[None]
        label = blended(people.label[first : first + 1], people.label[second : second + 1], share)
        with torch.no_grad():
            out = people.generator.synthesis(ws, label)
        shown = pictures_of(out, side)
        pictures.append(grid([[shown["image"][0]], [shown["normal"][0]]]))
    return pictures


def check_output(what: str, output: Path) -> None:
    """Raises UserError where the suffix does not fit what is to be made."""
    suffix = ".png" if what in STILLS else ".mp4"
    if output.suffix != suffix:
        raise UserError(f"--output {output}: the name of a file of '{what}' ends in {suffix}")


def main() -> None:
    parser = console.parser("ag3d.model.inference.generate", __doc__)
    parser.add_argument("what", choices=(*STILLS, "novel-view", "interpolation", "animation"), help="what to make")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument(
        "--body", type=Path, default=Path("results/body/body.npz"), help="body file (default: %(default)s)"
    )
    parser.add_argument("--poses", type=Path, required=True, help="pose distribution (.npy)")
    parser.add_argument("--output", type=Path, required=True, help="file to write: .png for pictures, .mp4 for videos")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")
    parser.add_argument(
        "--degrees", type=float, default=360, help="novel-view: how far the camera goes (default: %(default)s)"
    )
    parser.add_argument(
        "--motion", default="walk", help="animation: a motion file (.npz), or walk or wave (default: %(default)s)"
    )
    parser.add_argument("--stay", action="store_true", help="animation: the camera stays where it is")
    add_options(parser, Avatars)
    arguments = parser.parse_args()
    settings = from_options(Avatars, arguments)
    check_output(arguments.what, arguments.output)
    device = choose_device(arguments.device, "--device")
    generator = load_generator(arguments.checkpoint, Body.load(arguments.body), device)
    people = People(
        generator, read_poses(arguments.poses), settings.number, settings.seed, settings.truncation, settings.batch
    )
    everyone = torch.arange(len(people))
    if arguments.what in STILLS:
        label = people.label if arguments.what == "samples" else canonical(people)
        pictures = sample_pictures(people, label, settings.side)
        save_png(arguments.output, grid([[pictures[kind][index] for index in everyone] for kind in KINDS]))
    elif arguments.what == "novel-view":
        share = np.arange(settings.frames) / settings.frames
        full = arguments.degrees >= 360
        angles = 2 * np.pi * share if full else np.radians(arguments.degrees) / 2 * np.sin(2 * np.pi * share)
        write_video(arguments.output, novel_view(people, everyone, angles, settings.side), settings.fps)
    elif arguments.what == "interpolation":
        write_video(arguments.output, interpolation(people, settings.frames, settings.side), settings.fps)
    else:
        motion = built_in(arguments.motion) if arguments.motion in BUILT_IN else read_motion(arguments.motion)
        motion = motion.resampled(settings.fps)
        frames = animation(people, everyone, motion, settings.side, not arguments.stay)
        write_video(arguments.output, frames, settings.fps)
    console.log.info("wrote %s", arguments.output)


if __name__ == "__main__":
    console.run(main)
