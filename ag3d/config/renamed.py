"""Configuration keys that have other names than they had: one table, by which old configurations and checkpoints load."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from ag3d.core.errors import UserError

log = logging.getLogger(__name__)

# Old key to new key. Those of the network and of the training hold in training.stages, too.
RENAMED = {
    "photos.delivery": "photos.layout",
    "photos.list": "photos.include",
    "photos.every": "photos.frame_stride",
    "photos.seed": "synthetic.seed",
    "photos.count": "synthetic.count",
    "people.max_no_face": "people.face_reject_below",
    "fitting.max_cut": "fitting.max_out_of_frame",
    "fitting.samples": "fitting.uncertainty_samples",
    "fitting.smooth": "fitting.temporal_sigma",
    "dataset.max_alike": "dataset.dedup_max_hamming",
    "network.samples": "network.depth_resolution",
    "network.samples_fine": "network.depth_resolution_importance",
    "network.clamp": "network.conv_clamp",
    "network.gate": "network.cull_distance",
    "network.minibatch_std_group": "network.mbstd_group_size",
    "network.normal_head": "network.use_normal_discriminator",
    "network.face_head": "network.use_face_discriminator",
    "training.batch": "training.batch_size",
    "training.gamma": "training.r1_gamma",
    "training.r1_interval": "training.d_reg_interval",
    "training.eikonal": "training.eikonal_weight",
    "training.density": "training.density_reg",
    "training.density_interval": "training.density_reg_every",
    "training.beta_rate": "training.beta_lr_mult",
    "training.heads": "training.loss_reduction",
    "training.blur_sigma": "training.blur_init_sigma",
    "training.blur_kimg": "training.blur_fade_kimg",
    "machine.record": "machine.cuda_graphs",
    "machine.tick_images": "machine.log_every_images",
    "machine.preview_ticks": "machine.preview_every",
    "machine.keep_states": "machine.keep_checkpoints",
    "avatars.side": "avatars.image_size",
    "export.level": "export.iso_level",
    "export.faces": "export.max_faces",
    "export.colors": "export.texture_source",
    "export.travel": "export.root_motion",
    "evaluation.samples": "evaluation.num_images",
    "evaluation.people": "evaluation.num_geometry_people",
}


def old_names(section: str) -> Iterator[tuple[str, str]]:
    """Old and new name of every key of a section that has stayed in it."""
    for old, new in RENAMED.items():
        if old.startswith(f"{section}.") and new.startswith(f"{section}."):
            yield old.partition(".")[2], new.partition(".")[2]


def renew_section(values: Mapping[str, Any], section: str, *, warn: bool = True, where: str = "") -> dict[str, Any]:
    """The values of one section under today's keys; an old key is told unless `warn` is off.

    `where` is the section's place for messages. Raises UserError where a key stands under both names.
    """
    place = where or section
    if not isinstance(values, Mapping):
        raise UserError(f"configuration: '{place}' must be a mapping of keys")
    renewed = dict(values)
    for old, new in old_names(section):
        if old in renewed:
            if new in renewed:
                raise UserError(
                    f"configuration: '{place}.{old}' is the old name of '{place}.{new}'; keep the new one only"
                )
            renewed = {new if key == old else key: value for key, value in renewed.items()}
            if warn:
                log.warning("configuration: '%s.%s' is now called '%s.%s'", place, old, place, new)
    return renewed


def renew(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration under today's keys; tells of every old one. Raises UserError as `renew_section`."""
    renewed = {
        name: renew_section(values, name) if isinstance(values, Mapping) else values
        for name, values in configuration.items()
    }
    for old, new in RENAMED.items():
        (section, key), (target, name) = old.split("."), new.split(".")
        if section == target or not isinstance(renewed.get(section), Mapping) or key not in renewed[section]:
            continue
        values = renewed.setdefault(target, {})
        if not isinstance(values, Mapping) or name in values:
            raise UserError(f"configuration: '{old}' is the old name of '{new}'; keep the new one only")
        renewed[target] = {**values, name: renewed[section].pop(key)}
        log.warning("configuration: '%s' is now called '%s'", old, new)
    training = renewed.get("training")
    if isinstance(training, Mapping) and isinstance(training.get("stages"), list):
        renewed["training"] = {**training, "stages": [_stage(stage, n) for n, stage in enumerate(training["stages"])]}
    return renewed


def _stage(stage: Any, number: int) -> Any:
    if not isinstance(stage, Mapping):
        return stage
    for section in ("network", "training"):
        stage = renew_section(stage, section, where=f"training.stages[{number}]")
    return stage
