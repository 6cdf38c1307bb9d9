"""Turn a checkpoint that AG3D released (.pkl) into a checkpoint's folder, without executing anything in it.

Writes into OUT, which must not exist:

    generator_ema.safetensors                         what makes the pictures
    generator.safetensors, discriminator.safetensors  to train on, where the file has them
    checkpoint.json                                   network settings (compatibility: reference), body, what made it
    fine-tune.yaml                                    a configuration that goes on from it; the photographs are to be filled in
    body.npz                                          with --with-body: the body inside, which is licensed where it is SMPL

The weights stay under the licence under which you got them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from ag3d.config import Network, to_mapping
from ag3d.core import console, provenance
from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.core.files import atomic_folder, write_sealed, write_text
from ag3d.model import checkpoint
from ag3d.model.body.body import Body
from ag3d.model.legacy.bodies import compare
from ag3d.model.legacy.reader import Released, read_released
from ag3d.model.training.training_state import disk_errors

OPEN_BODY = Path("results/body/body.npz")
YOUR_BODY = "SMPL_NEUTRAL.pkl"
FINE_TUNE = """\
# Trains on from an imported checkpoint with your photographs: fill in photos.path, compare body.file, then
#     snakemake --cores all --configfile {file}
"""


def tell_body(released: Released, files: Sequence[Path], source: Path) -> tuple[Body | None, Path | None]:
    """Says which body the checkpoint was trained with; returns it, and the file that is the same, if one is."""
    inside = None if released.body is None else Body.from_arrays(released.body, f"the body inside {source.name}")
    candidates = compare(inside, files)
    if inside is None:
        return None, None
    log.info("trained with a body of %s vertices, fingerprint %s", f"{len(inside.v_template):,}", inside.sha256[:12])
    for each in candidates:
        if each.same:
            log.info("it is the one in %s", each.path)
            return each.body, each.path
    for each in candidates:
        how = "another mesh" if np.isinf(each.difference) else f"numbers differ by up to {each.difference:.2g}"
        log.warning(
            "%s is another body (%s vertices, fingerprint %s; %s): people made with it will differ from the authors'",
            each.path, f"{len(each.body.v_template):,}", each.body.sha256[:12], how,
        )  # fmt: skip
    return inside, None


def write(
    released: Released, body: Body | None, body_file: Path | None, source: Path, output: Path, with_body: bool
) -> None:
    """Write the folder, all of it or nothing. Raises UserError."""
    record = provenance.record("import-checkpoint", {"with_body": with_body}, [source])
    description = checkpoint.describe(
        released.settings, body, kimg=released.kimg, record=record, versions=provenance.versions()
    )
    with atomic_folder(output) as folder:
        for name, state in console.progress(list(released.networks.items()), "writing", unit="network"):
            tensors = {key: torch.from_numpy(array) for key, array in state.items()}
            with disk_errors(output):
                save_file(tensors, folder / f"{name}.safetensors")
        if with_body:
            assert released.body is not None
            np.savez(folder / "body.npz", allow_pickle=False, **released.body)
            body_file = output / "body.npz"
        heading = FINE_TUNE.format(file=output / "fine-tune.yaml")
        content = yaml.safe_dump(fine_tuning(released.settings, output, body_file), sort_keys=False)
        write_text(folder / "fine-tune.yaml", heading + content)
        write_sealed(folder / checkpoint.DESCRIPTION, description)


def fine_tuning(settings: Network, output: Path, body_file: Path | None) -> dict[str, Any]:
    """A configuration (see ag3d.config) that goes on from the imported checkpoint."""
    defaults = to_mapping(Network())
    network = {
        key: value for key, value in to_mapping(settings).items() if value != defaults[key] and key != "departures"
    }
    side = {"resolution": settings.image_resolution}
    return {
        "run": "fine-tuned",
        "dataset_name": "fine-tuned-data",
        "photos": {"source": "folder", "path": ""},
        "body": {"file": str(body_file.resolve()) if body_file else YOUR_BODY},
        "alignment": side,
        "dataset": dict(side),
        "network": network,
        # As when the reference resumes: no blur at the start, and the average does not begin anew.
        "training": {"resume_from": str(output.resolve()), "kimg": 1000.0, "blur_fade_kimg": 0.0, "ema_rampup": 0.0},
    }


def import_checkpoint(
    source: Path,
    output: Path,
    body_files: Sequence[Path] = (),
    with_body: bool = False,
    placeholders: Sequence[str] = (),
) -> None:
    """Read `source`, write the folder `output`, tell what was found. Raises UserError; then nothing is written."""
    if output.exists() or output.is_symlink():
        raise UserError(f"{output} exists; choose another folder, or remove it first")
    if source.is_file():
        log.info("reading %s (%.1f MB)", source, source.stat().st_size / 1e6)
    released = read_released(source, placeholders)
    for name, state in released.networks.items():
        log.info("%s: %d tensors, %.2f M numbers", name, len(state), sum(each.size for each in state.values()) / 1e6)
    for name in sorted({"generator", "discriminator"} - released.networks.keys()):
        log.warning("there is no %s in it: it can make people; a training that starts from it is weaker", name)
    if with_body and released.body is None:
        raise UserError(f"--with-body: {source} holds no body")
    body, same = tell_body(released, body_files, source)
    write(released, body, same, source, output, with_body)
    log.info("wrote %s: %d pixels, %g kimg", output, released.settings.image_resolution, released.kimg)


def main() -> None:
    parser = console.parser("ag3d.model.legacy.import_checkpoint", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="a released checkpoint (.pkl)")
    parser.add_argument("output", metavar="OUT", type=Path, help="folder to write; must not exist")
    parser.add_argument(
        "--body",
        action="append",
        metavar="open|PATH",
        help="body file to compare with the body inside: the open one, or SMPL's .pkl or .npz; "
        f"may be given several times (default: open, where {OPEN_BODY} exists)",
    )
    parser.add_argument(
        "--with-body", action="store_true", help="also write the body inside, licensed data: keep it to yourself"
    )
    parser.add_argument(
        "--placeholder",
        action="append",
        default=[],
        metavar="MODULE.NAME",
        help="a further name that the file may use; it stays inert, nothing is imported or called",
    )
    args = parser.parse_args()
    named = args.body if args.body is not None else ["open"] * OPEN_BODY.exists()
    files = [OPEN_BODY if name == "open" else Path(name) for name in named]
    import_checkpoint(args.file, args.output, files, args.with_body, args.placeholder)


if __name__ == "__main__":
    console.run(main)
