"""One step of the training: generator, its regularisation, discriminators, their regularisation, moving average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ag3d.config import Network, Training
from ag3d.model import malloc
from ag3d.model.body.body import Body
from ag3d.model.cuda_graphs import Memory, Recorded
from ag3d.model.generator import Generator
from ag3d.model.networks.discriminator import Discriminators
from ag3d.model.networks.stylegan2_layers import NoiseMode
from ag3d.model.precision import apply
from ag3d.model.training import body_prior, diversity, ema, init, losses, optimizers, rng, schedule
from ag3d.model.training.augment import Changes, Controller
from ag3d.model.training.discriminator_inputs import Images, Inputs
from ag3d.model.training.distributed import Processes
from ag3d.model.training.freeze import frozen
from ag3d.model.training.loader import Batch
from ag3d.model.training.metrics_log import Averages
from ag3d.model.training.weight_transfer import carry

Seen = tuple[Images, torch.Tensor]  # what the discriminators get: pictures and labels [b,111]
DENSITY_POINTS = 1000
DENSITY_JITTER = 0.004  # world units


class Trainer:
    """Networks, optimisers and counters. Every random number is a function of the seed and the step."""

    def __init__(
        self,
        settings: Training,
        network: Network,
        body: Body,
        labels: torch.Tensor,  # [N,111], those that generated people get
        device: torch.device,
        processes: Processes | None = None,
        micro_batch: int = 0,
        precision: str = "float32",
        record: bool = True,
    ) -> None:
        self.settings, self.network, self.device = settings, network, device
        self.labels = labels.to(device)
        self.processes = processes or Processes()
        self.micro_batch = micro_batch
        if device.type == "cpu":
            malloc.keep_freed()
        torch.manual_seed(settings.seed)
        self.G = Generator(network, body).to(device)
        if network.compatibility != "reference":
            init.quiet(self.G)
        self.D = Discriminators(network).to(device)
        apply(precision, self.G, self.D)
        self.G_ema = ema.average_of(self.G)
        self.frozen = frozen(settings.freeze, self.G, self.D)
        both: tuple[nn.Module, ...] = (self.G, self.D)
        self._parameters = {network: list(network.parameters()) for network in both}  # finding them is slow
        self.adam_g = optimizers.adam(
            self.G, schedule.adam_g(settings), {"renderer.sigmoid_beta": settings.beta_lr_mult}
        )
        self.adam_d = optimizers.adam(self.D, schedule.adam_d(settings))
        self.inputs = Inputs(network, body.to(device))
        self.augment = Controller(settings)
        self.averages = Averages()
        self.steps = 0
        self._recorded: dict[Any, Recorded] = {}
        self._memory = Memory()  # the discriminators' passes end before anything else begins
        self._reached: list[bool] = []  # which of the discriminators' parameters the R1 penalty depends on
        # A recording's gradients are overwritten by its next replay: one chunk a step.
        whole = len(self.processes.chunks(settings.batch_size, micro_batch)) == 1
        self.records = record and whole and device.type == "cuda"
        if self.records:
            self.G.record(self._memory)

    @property
    def images(self) -> int:
        """How many real images have been shown."""
        return self.steps * self.settings.batch_size

    def step(self, batch: Batch) -> None:
        """Train on this process's share of a batch: uint8 images and normals [b,3,R,R], labels [b,111]."""
        settings, step = self.settings, self.steps
        sigma = schedule.blur_init_sigma(settings, self.images)
        image, normal, label = (part.to(self.device, non_blocking=True) for part in batch)
        batch = (image, normal, label)
        fakes = self._generator_phase(sigma)
        if schedule.regularises(settings) and step % settings.density_reg_every == 0:
            self._density_phase()
        self._discriminator_phase(batch, sigma, fakes)
        if settings.r1_gamma > 0 and step % settings.d_reg_interval == 0:
            self._r1_phase(batch, sigma)
        self.steps += 1
        self.augment.adjust(self.steps, self.processes)
        ema.update(self.G_ema, self.G, schedule.ema_beta(settings, self.images))

    # Phases. Each sums, over this process's chunks, the gradients of means over the global batch.

    def _generator_phase(self, sigma: float) -> list[Seen]:
        """Returns what the discriminators saw, chunk by chunk, without its graph."""
        self._begin(self.G)
        z, label = self._draw("G")
        with torch.no_grad():  # over the global batch, so that all processes keep the same average
            self.G.mapping(z, update_average=True)
        changes = self._changes("G")
        fakes = []
        for chunk in self._chunks("G"):
            out = self._generate("G", z, label, chunk)
            seen, shown = self._fake(out, label, chunk, sigma, changes)
            fakes.append(({name: value.detach() for name, value in seen.items()}, shown))
            logits = self._logits(seen, shown)
            self._note(logits, "fake")
            loss = self._adversarial(losses.generator_loss, logits)
            eikonal = losses.eikonal(out["gradient"], out["empty"])
            self.averages.add("loss/G", loss)
            self.averages.add("loss/eikonal", eikonal)
            share = len(chunk) / self.settings.batch_size
            (share * (loss.mean() + self.settings.eikonal_weight * eikonal)).backward()
        self._end(self.G, self.adam_g)
        self.averages.add("beta", 1 / self.G.renderer.sharpness())
        return fakes

    def _density_phase(self) -> None:
        settings = self.settings
        self._begin(self.G)
        z, _ = self._draw("density")
        apart = schedule.diversity_weight(settings, self.images)
        for chunk in self._chunks("density"):
            ws = self._styles("density", z, chunk)
            points = losses.density_points(len(chunk), DENSITY_POINTS, DENSITY_JITTER, self.device)
            if apart > 0:  # all planes at once: a second recorded call would overwrite the first
                both = torch.cat([ws, self._styles("density", z.roll(1, 0), chunk)])
                planes, others = self.G.planes(both).chunk(2)
            else:
                planes = self.G.planes(ws)
            variation = losses.density_variation(self.G, ws, points, planes)
            self.averages.add("loss/density", variation)
            loss = settings.density_reg * variation
            if settings.minimal_surface > 0:
                surface = losses.minimal_surface(self.G.field(points, ws, planes=planes, shown=False)["sdf"])
                self.averages.add("loss/minimal_surface", surface)
                loss = loss + settings.minimal_surface * surface
            if settings.body_prior > 0:
                prior = body_prior.residual(self.G, ws, planes)
                self.averages.add("loss/body_prior", prior)
                loss = loss + settings.body_prior * prior
            if apart > 0:
                alike = diversity.alike(self.G, planes, others)
                self.averages.add("loss/diversity", alike)
                loss = loss + apart * alike.mean()
            if loss.requires_grad:  # not with a frozen field
                (len(chunk) / settings.batch_size * settings.density_reg_every * loss).backward()
        self._end(self.G, self.adam_g)

    def _discriminator_phase(self, batch: Batch, sigma: float, fakes: list[Seen]) -> None:
        self._begin(self.D)
        reuse = self.settings.reuse_fakes
        z, label = self._draw("G" if reuse else "D")
        changes, real_changes = self._changes("D fake"), self._changes("D real")
        for number, chunk in enumerate(self._chunks("D")):
            if reuse:
                fake, fake_label = fakes[number]
            else:
                with torch.no_grad():
                    out = self._generate("D", z, label, chunk)
                    fake, fake_label = self._fake(out, label, chunk, sigma, changes)
            real, real_label = self._real(batch, chunk, sigma, real_changes)
            fake_logits, logits = self._judge_both(fake, fake_label, real, real_label)
            fake_loss = self._adversarial(losses.discriminator_fake_loss, fake_logits)
            real_loss = self._adversarial(losses.discriminator_real_loss, logits)
            self.augment.note(losses.total_logit(logits, self._weights))
            self.averages.add("loss/D", fake_loss + real_loss)
            ((fake_loss + real_loss).sum() / self.settings.batch_size).backward()
        self._end(self.D, self.adam_d)

    def _r1_phase(self, batch: Batch, sigma: float) -> None:
        self._begin(self.D)
        changes = self._changes("R1")
        for chunk in self._chunks("R1"):
            real, label = self._real(batch, chunk, sigma, changes)
            if self.records:
                penalty = self._recorded_r1(real, label)
            else:
                penalty = self._r1(real, label)
                (penalty.sum() * self._r1_weight).backward()
            self.averages.add("loss/R1", penalty)
        self._end(self.D, self.adam_d)

    @property
    def _r1_weight(self) -> float:
        settings = self.settings
        return settings.r1_gamma / 2 * settings.d_reg_interval / settings.batch_size

    def _r1(self, real: Images, label: torch.Tensor) -> torch.Tensor:
        real = {name: value.detach().requires_grad_(True) for name, value in real.items()}
        logits = self.D(real, label, double_backward=True)
        if self._apart:
            return losses.r1_penalty(losses.total_logit(logits), real, self._weights)
        return losses.r1_penalty(losses.total_logit(logits, self._weights), real)

    def _recorded_r1(self, real: Images, label: torch.Tensor) -> torch.Tensor:
        """The penalty; sets the gradients. Twice differentiated, it is the most launches of all."""
        parameters = [parameter for parameter in self.D.parameters() if parameter.requires_grad]
        if "r1" not in self._recorded:
            names = tuple(real)

            def gradients(label: torch.Tensor, *pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
                with torch.enable_grad():
                    penalty = self._r1(dict(zip(names, pictures)), label)
                    found = torch.autograd.grad(penalty.sum() * self._r1_weight, parameters, allow_unused=True)
                self._reached = [gradient is not None for gradient in found]
                # In the parameters' own layout, as the optimiser wants it.
                laid = (torch.empty_like(p).copy_(g) for p, g in zip(parameters, found) if g is not None)
                return penalty.detach(), *laid

            self._remember("r1", Recorded(gradients))
        with torch.no_grad():
            penalty, *found = self._recorded["r1"](label, *real.values())
        reached = (parameter for parameter, yes in zip(parameters, self._reached) if yes)
        for parameter, gradient in zip(reached, found, strict=True):
            parameter.grad = gradient
        return penalty

    # Parts of the phases.

    def _begin(self, network: nn.Module) -> None:
        for each, parameters in self._parameters.items():
            for parameter in parameters:
                parameter.requires_grad = each is network
        for parameter in self.frozen:
            parameter.requires_grad_(False)
        for optimizer in (self.adam_g, self.adam_d):  # the other network's gradients only take memory
            optimizer.zero_grad(set_to_none=True)

    def _end(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.processes.sum_gradients(self._parameters[network])
        optimizer.step()

    def _chunks(self, phase: str):
        """This process's chunks of the global batch, each with the devices' generators seeded for it."""
        for chunk in self.processes.chunks(self.settings.batch_size, self.micro_batch):
            rng.seed_everything(self.settings.seed, self.steps, phase, chunk.start)
            yield chunk

    def _draw(self, phase: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Latent codes [batch,z_dim] and labels [batch,111] of the global batch."""
        settings = self.settings
        z = rng.latents(settings.seed, self.steps, phase, settings.batch_size, self.network.z_dim)
        rows = rng.rows(settings.seed, self.steps, phase, settings.batch_size, len(self.labels))
        return z.to(self.device), self.labels[rows.to(self.device)]

    def _styles(self, phase: str, z: torch.Tensor, chunk: range) -> torch.Tensor:
        """ws of the chunk; with the settings' probability, two styles meet at a random layer."""
        ws = self.G.mapping(z[chunk.start : chunk.stop])
        if self.settings.style_mixing > 0:
            numbers = rng.generator(self.settings.seed, self.steps, f"{phase} mixing")
            if torch.rand((), generator=numbers) < self.settings.style_mixing:
                cutoff = int(torch.randint(1, ws.shape[1], (), generator=numbers))
                other = torch.randn(z.shape, generator=numbers).to(self.device)
                mixed = self.G.mapping(other[chunk.start : chunk.stop])
                ws = torch.cat([ws[:, :cutoff], mixed[:, cutoff:]], dim=1)
        return ws

    def _generate(self, phase: str, z: torch.Tensor, label: torch.Tensor, chunk: range) -> dict[str, torch.Tensor]:
        ws = self._styles(phase, z, chunk)
        noise: NoiseMode = "const" if self.network.departures.steady_noise else "random"
        return self.G.synthesis(ws, label[chunk.start : chunk.stop], noise_mode=noise, deterministic=False)

    def _changes(self, phase: str) -> Changes | None:
        """Augmentation of the global batch."""
        numbers = rng.generator(self.settings.seed, self.steps, f"{phase} augmentation")
        changes = self.augment.changes(self.settings.batch_size, numbers)
        return None if changes is None else changes.to(self.device)

    def _fake(self, out: Images, label: torch.Tensor, chunk: range, sigma: float, changes: Changes | None) -> Seen:
        """What the discriminators get of generated people; `label` and `changes` are the global batch's."""
        part = slice(chunk.start, chunk.stop)
        mine = None if changes is None else changes[part]
        seen = self.inputs.fake(out, label[part], sigma, mine)
        return seen, label[part] if mine is None else mine.labels(label[part])

    def _real(self, batch: Batch, chunk: range, sigma: float, changes: Changes | None) -> Seen:
        """The same of photographs; `batch` is this process's share of the global batch."""
        first = self.processes.share(self.settings.batch_size).start
        image, normal, label = (part[chunk.start - first : chunk.stop - first] for part in batch)
        mine = None if changes is None else changes[chunk.start : chunk.stop]
        seen = self.inputs.real(image, normal, label, sigma, mine)
        return seen, label if mine is None else mine.labels(label)

    @property
    def _apart(self) -> bool:
        return self.settings.loss_reduction == "apart"

    @property
    def _weights(self) -> dict[str, float]:
        settings = self.settings
        return losses.head_weights(settings.normal_weight, settings.face_weight, settings.face_normal_weight)

    def _adversarial(
        self, loss: Callable[[torch.Tensor], torch.Tensor], logits: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return losses.adversarial(loss, logits, self._weights, self._apart)

    def _logits(self, images: Images, label: torch.Tensor, batches: int = 1) -> dict[str, torch.Tensor]:
        """The heads' logits [b,1]; `batches`: so many batches lie one after the other."""
        kind = (batches, *images)
        if kind not in self._recorded:

            def judge(label: torch.Tensor, *pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return tuple(self.D(dict(zip(kind[1:], pictures)), label, batches).values())

            self._remember(kind, Recorded(judge, self.D))
        return dict(zip(self.D.heads, self._recorded[kind](label, *images.values())))

    def _remember(self, kind: Any, recorded: Recorded) -> None:
        recorded.on, recorded.memory = self.records, self._memory
        self._recorded[kind] = recorded

    def _note(self, logits: dict[str, torch.Tensor], kind: str) -> None:
        for name, value in logits.items():
            self.averages.add(f"logit/{kind}/{name}", value)

    def _judge_both(
        self, fake: Images, fake_label: torch.Tensor, real: Images, real_label: torch.Tensor
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The heads' logits of as many generated and real people, in one pass."""
        images = {name: torch.cat([fake[name], real[name]]) for name in fake}
        logits = self._logits(images, torch.cat([fake_label, real_label]), batches=2)
        halves = {name: value.chunk(2) for name, value in logits.items()}
        found = tuple({name: half[k] for name, half in halves.items()} for k in (0, 1))
        for kind, part in zip(("fake", "real"), found):
            self._note(part, kind)
        return found[0], found[1]

    # The whole state.

    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.G, "generator_ema": self.G_ema, "discriminator": self.D}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that the training depends on, by name; see `restore`."""
        found = {
            f"{part}/{name}": t for part, network in self.networks().items() for name, t in network.state_dict().items()
        }
        found |= {f"adam_g/{name}": t for name, t in optimizers.tensors(self.adam_g, self.G).items()}
        found |= {f"adam_d/{name}": t for name, t in optimizers.tensors(self.adam_d, self.D).items()}
        return found

    def values(self) -> dict[str, Any]:
        """Everything else that it depends on, as plain values. All processes must take part."""
        self.averages.fold(self.processes)
        self.augment.fold(self.processes)
        return {"steps": self.steps, "averages": self.averages.state(), "augment": self.augment.state()}

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Go on from what `tensors` and `values` gave."""
        for part, network in self.networks().items():
            network.load_state_dict(part_of(tensors, part))
        optimizers.restore(self.adam_g, self.G, part_of(tensors, "adam_g"))
        optimizers.restore(self.adam_d, self.D, part_of(tensors, "adam_d"))
        self._restore(values)

    def carry(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Go on, as a new stage, from the training of another network: what fits is taken over, the rest is told."""
        for part, network in self.networks().items():
            own = network.state_dict()
            carried = carry(part_of(tensors, part), own)
            carried.tell(part, "the stage before")
            network.load_state_dict(own | carried.tensors)
        optimizers.carry(self.adam_g, self.G, part_of(tensors, "adam_g"))
        optimizers.carry(self.adam_d, self.D, part_of(tensors, "adam_d"))
        self._restore(values)

    def _restore(self, values: dict[str, Any]) -> None:
        self.steps = values["steps"]
        first = self.processes.rank == 0
        self.averages.restore(values["averages"], first)
        self.augment.restore(values["augment"], first)


def part_of(tensors: dict[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    """The tensors under `part/`, without that prefix."""
    return {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
