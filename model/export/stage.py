"""Export generated people to files that other programs open, in metres, y up, facing +z.

    mesh    the surface, with its arms out or posed: .glb, .obj or .ply
    avatar  the surface with joints, skin weights and animations: .glb (Blender, Unity, browsers)
    all     a folder with an avatar for each of several people, and pictures of their meshes

Colours lie in a texture (--texture 0: at the vertices). The same command gives the same bytes on the same machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import trimesh

from ag3d.config import Avatars, Export, read, to_mapping
from ag3d.config.settings import add_options, from_mapping, from_options
from ag3d.core import console, provenance
from ag3d.core.console import progress
from ag3d.core.errors import UserError
from ag3d.core.files import atomic, write_json
from ag3d.core.shards import save_png
from ag3d.model.avatars.command import add_network_options, open_network
from ag3d.model.avatars.identities import People, SavedPeople, read_poses
from ag3d.model.avatars.latents import read_latents
from ag3d.model.avatars.mesh import canonical_mesh, posed_mesh
from ag3d.model.avatars.mesh_preview import render_mesh
from ag3d.model.avatars.motion import motion_labels
from ag3d.model.avatars.motion_sources import NAMES, named_motion
from ag3d.model.body import label as labels
from ag3d.model.export.clips import Clip, read_clips
from ag3d.model.export.mesh_io import check_beside, check_suffix, write_mesh
from ag3d.model.export.rig import avatar_glb, rig
from ag3d.model.export.texture import textured
from ag3d.model.export.texture_baking import ImageSource
from ag3d.model.generator import Generator

FINE = 256  # side of images that show more than the field does


def surface(people: People, person: int, settings: Export, plain: bool = False) -> trimesh.Trimesh:
    """The canonical mesh of a person, textured unless the settings or the file (`plain`) want vertex colours."""
    with torch.no_grad():
        ws = people.ws[person : person + 1]
        planes = people.generator.planes(ws)
    mesh = canonical_mesh(people.generator, planes, settings.resolution, settings.max_faces, settings.iso_level)
    if plain or not settings.texture:
        return mesh
    fine = (
        people.generator.resolution >= FINE
        if settings.texture_source == "auto"
        else settings.texture_source == "images"
    )
    source = ImageSource(ws, people.betas[person]) if fine else None
    return textured(people.generator, planes, mesh, settings.texture, source)


def write_avatar(people: People, person: int, mesh: trimesh.Trimesh, clips: list[Clip], path: Path) -> None:
    """Write the rigged avatar of a person's canonical mesh (.glb), atomically."""
    avatar = rig(people.generator, mesh, people.betas[person])
    seed = people.seeds[person]
    data = avatar_glb(avatar, clips, f"person_{seed:06d}", {"seed": seed})
    with atomic(path) as beside:
        beside.write_bytes(data)


def export_all(people: People, settings: Export, clips: list[Clip], folder: Path) -> None:
    """Write <seed>.glb for everybody, and meshes.png: with colours, front and back without, posed."""
    rows = []
    for person, seed in progress(list(enumerate(people.seeds)), "export", len(people), "person"):
        mesh = surface(people, person, settings)
        write_avatar(people, person, mesh, clips, folder / f"{seed:06d}.glb")
        posed = posed_mesh(people.generator, mesh, people.label[person : person + 1])
        views = [render_mesh(mesh), render_mesh(mesh, colored=False), render_mesh(mesh, turn=np.pi, colored=False)]
        rows.append(np.concatenate([*views, render_mesh(posed), render_mesh(posed, colored=False)], axis=1))
    save_png(folder / "meshes.png", np.concatenate(rows, axis=0))


def pose_label(people: People, posed: bool, motions: list[str], frame: int) -> torch.Tensor | None:
    """The label [1,111] that a mesh is to be posed by: the person's own, or a frame of a motion; None: arms out."""
    if posed:
        return people.label[:1]
    if not motions:
        return None
    motion = named_motion(motions[0])
    if not 0 <= frame < len(motion):
        raise UserError(f"--frame {frame}: the motion {motions[0]} has the frames 0 to {len(motion) - 1}")
    return motion_labels(motion, people.betas[0].cpu())[frame : frame + 1].to(people.label.device)


def find_people(generator: Generator, arguments: argparse.Namespace, who: Avatars, number: int) -> People:
    """The people that --ws, or --seed and --truncation name. Raises UserError."""
    poses = read_poses(arguments.poses) if arguments.poses else None
    if not arguments.ws:
        return People(generator, labels.canonical_label() if poses is None else poses, number, who.seed, who.truncation)
    latents = read_latents(arguments.ws, generator.num_ws, generator.settings.w_dim)
    if poses is None and latents.label is None:
        poses = labels.canonical_label()
    if arguments.what != "all":
        latents = latents.select([who.seed], str(arguments.ws))
    return SavedPeople(generator, latents, poses)


def main() -> None:
    arguments = _arguments()
    settings = from_options(Export, arguments)
    settings.motions = arguments.motion or settings.motions
    given = {name: value for name in ("seed", "truncation") if (value := getattr(arguments, name)) is not None}
    who = from_mapping(Avatars, to_mapping(read(arguments.config).avatars) | given)
    output, what = arguments.output, arguments.what
    if what != "all":
        check_suffix(output, (".glb", ".obj", ".ply") if what == "mesh" else (".glb",))
        check_beside(output)
    if arguments.posed and not arguments.poses and not arguments.ws:
        raise UserError("--posed needs --poses, the pose distribution to take the pose from (or --ws with poses)")
    if arguments.posed and arguments.motion:
        raise UserError("--posed and --motion both say how to pose the mesh; give one of them")
    clips = [] if what == "mesh" else read_clips(settings.motions, settings.fps, settings.root_motion)
    generator = open_network(arguments)
    people = find_people(generator, arguments, who, settings.number if what == "all" else 1)
    if what == "all":
        export_all(people, settings, clips, output)
        inputs = [arguments.checkpoint / "generator_ema.safetensors", arguments.body]
        record = provenance.record("export", to_mapping(settings), inputs)
        write_json(output / "export.json", {"seeds": people.seeds, **record})
        return
    label = pose_label(people, arguments.posed, arguments.motion, arguments.frame) if what == "mesh" else None
    mesh = surface(people, 0, settings, plain=output.suffix == ".ply")
    if what == "avatar":
        write_avatar(people, 0, mesh, clips, output)
    else:
        write_mesh(mesh if label is None else posed_mesh(generator, mesh, label), output)
    console.log.info("wrote %s: %d vertices, %d triangles", output, len(mesh.vertices), len(mesh.faces))


def _arguments() -> argparse.Namespace:
    parser = console.parser("ag3d.model.export", __doc__)
    parser.add_argument("what", choices=("mesh", "avatar", "all"), help="what to make")
    add_network_options(parser)
    parser.add_argument(
        "--poses", type=Path, help="pose distribution (.npy) that people take their build and pose from (default: none)"
    )
    parser.add_argument(
        "--ws", type=Path, help="people of a file of style codes (ag3d generate writes them) instead of random ones"
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write; all: folder")
    parser.add_argument(
        "--seed", type=int, help=f"which person; all: the first, or with --ws everybody (default: {Avatars.seed})"
    )
    parser.add_argument("--truncation", type=float, help=f"1: full variety (default: {Avatars.truncation})")
    parser.add_argument(
        "--motion",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help=f"avatar: an animation, may be given often; mesh: a motion to be posed by. {NAMES}",
    )
    parser.add_argument("--frame", type=int, default=0, help="mesh: the frame of --motion (default: %(default)s)")
    parser.add_argument("--posed", action="store_true", help="mesh: in the person's own pose of --poses")
    add_options(parser, Export)
    return parser.parse_args()
