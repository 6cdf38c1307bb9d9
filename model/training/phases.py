"""The phases of a training step: generator, its regularisation, discriminators, their regularisation (R1).

Each sums, over this process's chunks of the global batch, the gradients of means over the global batch. Every random
number is a function of the seed, the step and the phase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ag3d.model.networks.stylegan2_layers import NoiseMode
from ag3d.model.training import losses, rng, stages
from ag3d.model.training.augment import Augmentation
from ag3d.model.training.data import Batch
from ag3d.model.training.discriminator_inputs import DiscriminatorBatch, Images

if TYPE_CHECKING:
    from ag3d.model.training.trainer import Trainer

DENSITY_POINTS = 1000
DENSITY_JITTER = 0.004  # world units


def generator_phase(trainer: Trainer, sigma: float) -> list[DiscriminatorBatch]:
    """A step of the generator; `sigma`: the blur. Returns what the discriminators saw, chunk by chunk, without its graph."""
    trainer.begin_phase(trainer.G)
    z, label = sample_latents(trainer, "G")
    with torch.no_grad():  # over the global batch, so that all processes keep the same average
        trainer.G.mapping(z, update_average=True)
    augmentation = sample_augmentation(trainer, "G")
    fakes = []
    for chunk in chunks(trainer, "G"):
        out = generate(trainer, "G", z, label, chunk)
        fake = fake_batch(trainer, out, label, chunk, sigma, augmentation)
        fakes.append(DiscriminatorBatch({name: image.detach() for name, image in fake.images.items()}, fake.label))
        logits = trainer.graphs.logits(fake)
        _log_logits(trainer, logits, "fake")
        loss = _adversarial(trainer, losses.generator_loss, logits)
        eikonal = losses.eikonal(out["gradient"], out["empty"])
        trainer.averages.add("loss/G", loss)
        trainer.averages.add("loss/eikonal", eikonal)
        share = len(chunk) / trainer.settings.batch_size
        (share * (loss.mean() + trainer.settings.eikonal_weight * eikonal)).backward()
    trainer.end_phase(trainer.G)
    trainer.averages.add("beta", 1 / trainer.G.renderer.sharpness())
    return fakes


def density_phase(trainer: Trainer) -> None:
    """A step of the generator's regularisation: of its field alone, without rendering."""
    G, settings = trainer.G, trainer.settings
    trainer.begin_phase(G)
    z, _ = sample_latents(trainer, "density")
    diversity_weight = stages.diversity_weight(settings, trainer.images)
    for chunk in chunks(trainer, "density"):
        ws = mixed_ws(trainer, "density", z, chunk)
        points = losses.density_points(len(chunk), DENSITY_POINTS, DENSITY_JITTER, trainer.device)
        if diversity_weight > 0:  # all planes at once: a second recorded call would overwrite the first
            both = torch.cat([ws, mixed_ws(trainer, "density", z.roll(1, 0), chunk)])
            planes, others = G.planes(both).chunk(2)
        else:
            planes = G.planes(ws)
        variation = losses.density_variation(G, ws, points, planes)
        trainer.averages.add("loss/density", variation)
        loss = settings.density_reg * variation
        if settings.minimal_surface > 0:
            surface = losses.minimal_surface(G.field(points, ws, planes=planes, sdf_only=True)["sdf"])
            trainer.averages.add("loss/minimal_surface", surface)
            loss = loss + settings.minimal_surface * surface
        if settings.body_prior > 0:
            prior = losses.body_sdf_prior(G, ws, planes)
            trainer.averages.add("loss/body_prior", prior)
            loss = loss + settings.body_prior * prior
        if diversity_weight > 0:
            diversity = losses.diversity(G, planes, others)
            trainer.averages.add("loss/diversity", diversity)
            loss = loss + diversity_weight * diversity.mean()
        if loss.requires_grad:  # not with a frozen field
            (len(chunk) / settings.batch_size * settings.density_reg_every * loss).backward()
    trainer.end_phase(G)


def discriminator_phase(trainer: Trainer, batch: Batch, sigma: float, fakes: list[DiscriminatorBatch]) -> None:
    """A step of the discriminators on this process's share of a batch; `fakes`: of the generator's phase, to be reused."""
    settings = trainer.settings
    trainer.begin_phase(trainer.D)
    z, label = sample_latents(trainer, "G" if settings.reuse_fakes else "D")
    augmentation, real_augmentation = sample_augmentation(trainer, "D fake"), sample_augmentation(trainer, "D real")
    for number, chunk in enumerate(chunks(trainer, "D")):
        if settings.reuse_fakes:
            fake = fakes[number]
        else:
            with torch.no_grad():
                out = generate(trainer, "D", z, label, chunk)
                fake = fake_batch(trainer, out, label, chunk, sigma, augmentation)
        real = real_batch(trainer, batch, chunk, sigma, real_augmentation)
        fake_logits, real_logits = _judge_both(trainer, fake, real)
        fake_loss = _adversarial(trainer, losses.discriminator_fake_loss, fake_logits)
        real_loss = _adversarial(trainer, losses.discriminator_real_loss, real_logits)
        trainer.augment.observe(losses.total_logit(real_logits, trainer.graphs.weights))
        trainer.averages.add("loss/D", fake_loss + real_loss)
        ((fake_loss + real_loss).sum() / settings.batch_size).backward()
    trainer.end_phase(trainer.D)


def r1_phase(trainer: Trainer, batch: Batch, sigma: float) -> None:
    """A step of the discriminators' regularisation on this process's share of a batch."""
    trainer.begin_phase(trainer.D)
    augmentation = sample_augmentation(trainer, "R1")
    for chunk in chunks(trainer, "R1"):
        real = real_batch(trainer, batch, chunk, sigma, augmentation)
        trainer.averages.add("loss/R1", trainer.graphs.r1_backward(real))
    trainer.end_phase(trainer.D)


# What the phases are made of.


def chunks(trainer: Trainer, phase: str) -> Iterator[range]:
    """This process's chunks of the global batch, each with the devices' generators seeded for it."""
    for chunk in trainer.processes.chunks(trainer.settings.batch_size, trainer.micro_batch):
        rng.seed_everything(trainer.settings.seed, trainer.steps, phase, chunk.start)
        yield chunk


def sample_latents(trainer: Trainer, phase: str) -> tuple[Tensor, Tensor]:
    """Latent codes [batch,z_dim] and labels [batch,111] of the global batch."""
    settings = trainer.settings
    z = rng.latents(settings.seed, trainer.steps, phase, settings.batch_size, trainer.network.z_dim)
    rows = rng.rows(settings.seed, trainer.steps, phase, settings.batch_size, len(trainer.labels))
    return z.to(trainer.device), trainer.labels[rows.to(trainer.device)]


def sample_augmentation(trainer: Trainer, phase: str) -> Augmentation | None:
    """Augmentation of the global batch."""
    numbers = rng.generator(trainer.settings.seed, trainer.steps, f"{phase} augmentation")
    augmentation = trainer.augment.sample(trainer.settings.batch_size, numbers)
    return None if augmentation is None else augmentation.to(trainer.device)


def mixed_ws(trainer: Trainer, phase: str, z: Tensor, chunk: range) -> Tensor:
    """ws of the chunk of z [batch,z_dim]; with the settings' probability, two styles meet at a random layer."""
    settings = trainer.settings
    ws = trainer.G.mapping(z[chunk.start : chunk.stop])
    if settings.style_mixing > 0:
        numbers = rng.generator(settings.seed, trainer.steps, f"{phase} mixing")
        if torch.rand((), generator=numbers) < settings.style_mixing:
            cutoff = int(torch.randint(1, ws.shape[1], (), generator=numbers))
            other_z = torch.randn(z.shape, generator=numbers).to(trainer.device)
            other = trainer.G.mapping(other_z[chunk.start : chunk.stop])
            ws = torch.cat([ws[:, :cutoff], other[:, cutoff:]], dim=1)
    return ws


def generate(trainer: Trainer, phase: str, z: Tensor, label: Tensor, chunk: range) -> Images:
    """The generator's output for a chunk of the global batch's z and labels."""
    ws = mixed_ws(trainer, phase, z, chunk)
    noise: NoiseMode = "const" if trainer.network.departures.steady_noise else "random"
    return trainer.G.synthesis(ws, label[chunk.start : chunk.stop], noise_mode=noise, deterministic=False)


def fake_batch(
    trainer: Trainer, out: Images, label: Tensor, chunk: range, sigma: float, augmentation: Augmentation | None
) -> DiscriminatorBatch:
    """What the discriminators get of generated people; `label` and `augmentation` are the global batch's."""
    part = slice(chunk.start, chunk.stop)
    return trainer.inputs.fake(out, label[part], sigma, None if augmentation is None else augmentation[part])


def real_batch(
    trainer: Trainer, batch: Batch, chunk: range, sigma: float, augmentation: Augmentation | None
) -> DiscriminatorBatch:
    """The same of photographs; `batch` is this process's share of the global batch."""
    first = trainer.processes.share(trainer.settings.batch_size).start
    image, normal, label = (part[chunk.start - first : chunk.stop - first] for part in batch)
    own = None if augmentation is None else augmentation[chunk.start : chunk.stop]
    return trainer.inputs.real(image, normal, label, sigma, own)


def _judge_both(
    trainer: Trainer, fake: DiscriminatorBatch, real: DiscriminatorBatch
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The heads' logits of as many generated and real people, in one pass."""
    images = {name: torch.cat([fake.images[name], real.images[name]]) for name in fake.images}
    logits = trainer.graphs.logits(DiscriminatorBatch(images, torch.cat([fake.label, real.label])), batches=2)
    halves = {name: value.chunk(2) for name, value in logits.items()}
    fake_logits, real_logits = ({name: half[k] for name, half in halves.items()} for k in (0, 1))
    _log_logits(trainer, fake_logits, "fake")
    _log_logits(trainer, real_logits, "real")
    return fake_logits, real_logits


def _adversarial(trainer: Trainer, loss: Callable[[Tensor], Tensor], logits: dict[str, Tensor]) -> Tensor:
    return losses.adversarial(loss, logits, trainer.graphs.weights, trainer.graphs.apart)


def _log_logits(trainer: Trainer, logits: dict[str, Tensor], kind: str) -> None:
    for head, value in logits.items():
        trainer.averages.add(f"logit/{kind}/{head}", value)
