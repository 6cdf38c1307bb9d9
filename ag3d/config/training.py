"""Settings of the training."""

from __future__ import annotations

from dataclasses import dataclass

from ag3d.config.settings import device_option, option
from ag3d.config.stages import Stage, check_stages

# Parts of the generator that can be frozen, and how their parameters' names begin.
FREEZABLE = {
    "mapping": "backbone.mapping.",
    "backbone": "backbone.synthesis.",
    "decoder": "decoder.",
    "density": "renderer.",
    "superresolution": "superresolution.",
}


@dataclass
class Training:
    """The training's science. Nothing here depends on the machine."""

    kimg: float = option(25000.0, "thousands of images to train on", low=0, high=1e6)
    milestones: int = option(
        4, "how many checkpoints to keep as results, evenly spaced over the training", low=1, high=1000
    )
    batch_size: int = option(32, "images per step, over all GPUs together", low=1)
    seed: int = option(0, "seed of everything random", low=0)
    learning_rate_g: float = option(0.0025, "Adam learning rate of the generator", low=0)
    learning_rate_d: float = option(0.002, "Adam learning rate of the discriminators", low=0)
    beta_lr_mult: float = option(
        1.0, "learning rate of the density's width, as a share of the generator's; short trainings want less", low=0
    )
    r1_gamma: float = option(5.0, "weight of the R1 penalty", low=0)
    d_reg_interval: int = option(16, "steps between R1 penalties", low=1)
    eikonal_weight: float = option(0.1, "weight of the eikonal loss", low=0)
    density_reg: float = option(0.25, "weight of the density regularisation", low=0)
    density_reg_every: int = option(4, "steps between density regularisations", low=1)
    minimal_surface: float = option(0.0, "weight of the minimal-surface loss", low=0)
    body_prior: float = option(
        0.0,
        "weight of keeping the surface near the body's (squared residual / 0.05): holds limbs in short trainings",
        low=0,
    )
    diversity: float = option(
        0.0,
        "weight of keeping the colours of different latent codes apart: people differ earlier, for short trainings",
        low=0,
    )
    diversity_kimg: float = option(100.0, "over how many kimg that weight fades to zero", low=0.001)
    normal_weight: float = option(1.0, "weight of the normal discriminators' logits", low=0)
    face_weight: float = option(1.0, "weight of the face discriminators' logits", low=0)
    face_normal_weight: float = option(
        -1.0, "weight of the logits of the faces' normals; -1: normal_weight × face_weight", low=-1
    )
    loss_reduction: str = option(
        "together",
        "one loss of the sum of the discriminators' logits, or (apart) a sum of one loss each, so that none that is sure "
        "silences the others",
        choices=("together", "apart"),
    )
    style_mixing: float = option(0.0, "probability of mixing two styles", low=0, high=1)
    reuse_fakes: bool = option(
        False, "judge in the discriminators' step the people just generated, instead of new ones: a third less work"
    )
    blur_fade_kimg: float = option(
        -1.0, "over how many kimg the images' blur fades; -1: 200 × batch / 32, or no blur with resume_from"
    )
    blur_init_sigma: float = option(10.0, "initial blur (pixels)", low=0)
    ema_kimg: float = option(-1.0, "half-life of the generator's moving average in kimg; -1: 10 × batch / 32")
    ema_rampup: float = option(
        -1.0,
        "the half-life is at most this share of the images seen so far; 0: no limit; -1: 0.05, or 0 with resume_from",
        low=-1,
    )
    mirror: bool = option(False, "also train on mirrored images, with mirrored labels and normals")
    augment: str = option(
        "none",
        "transform what the discriminators see, real and generated people alike, so that few photographs are not learnt "
        "by heart: with a fixed probability, or with one that a controller chooses (ada)",
        choices=("none", "fixed", "ada"),
    )
    augment_p: float = option(0.2, "fixed: probability of each transformation", low=0, high=1)
    ada_target: float = option(
        0.6, "ada: how well the photographs may be recognised (mean sign of their logits)", low=-1, high=1
    )
    ada_kimg: float = option(500.0, "ada: kimg in which the probability could rise from 0 to 1", low=0.001)
    stages: list[Stage] = option(
        [],
        "what changes later: a list of {from_kimg: 1000, …} with new values of the network's image_resolution, "
        "neural_resolution, use_normal_discriminator, use_face_discriminator, or of the learning rates and weights here; a network that changes takes "
        "over the weights that fit",
    )
    resume_from: str = option("", "folder of a checkpoint or of a saved state to start from (fine-tuning)", path=True)
    freeze: list[str] = option(
        [],
        "parts that keep their weights: mapping, backbone, decoder, density, superresolution, or discriminator:N for the "
        "first N convolutions of every discriminator",
        pattern="|".join([*FREEZABLE, r"discriminator:[0-9]+"]),
    )

    def __post_init__(self) -> None:
        check_stages(self.stages)

    def milestone_names(self) -> list[str]:
        """Names of the milestones' folders. Where a stage ends there is one too."""
        even = {self.kimg * index / self.milestones for index in range(1, self.milestones + 1)}
        return sorted(
            {milestone_name(kimg) for kimg in even | {stage.from_kimg for stage in self.stages_until(self.kimg)}}
        )

    def stages_until(self, kimg: float) -> list[Stage]:
        """The stages that begin before `kimg`: later ones do not matter to what was trained until there."""
        return [stage for stage in self.stages if stage.from_kimg < kimg]


def milestone_name(kimg: float) -> str:
    """Folder name of a milestone: kimg, padded so that names sort as numbers do."""
    whole, _, fraction = f"{kimg:.6f}".partition(".")
    return f"{whole.zfill(6)}.{fraction}".rstrip("0").rstrip(".")


@dataclass
class Machine:
    """How the training runs; changing it never retrains."""

    device: str = device_option()
    precision: str = option(
        "auto",
        "of the convolutions; everything else is float32. auto: bfloat16 on GPUs that have it, float32 on a processor",
        choices=("auto", "float32", "tf32", "bfloat16", "float16"),
    )
    gpus: int = option(1, "GPUs to ask for, on each computer", low=0)
    nodes: int = option(1, "computers that train together, through Slurm (profiles/slurm)", low=1)
    keep_listing: bool = option(
        False,
        "list the folder of photographs once, for millions of them: new ones are seen after results/<dataset_name>/scan is "
        "deleted",
    )
    workers: int = option(2, "threads of each process that read and decode photographs", low=0)
    cache_gb: float = option(
        0.5, "memory of each process for decoded photographs (GB): those that fit are read only once", low=0
    )
    micro_batch: int = option(0, "images per forward pass; 0: the whole share of a GPU", low=0)
    cuda_graphs: bool = option(
        True, "on a GPU, record what it is told to do and replay it: twice as fast, for about twice the memory"
    )
    checkpoint_minutes: float = option(5.0, "how often the state is saved for resuming", low=0)
    keep_checkpoints: int = option(2, "how many saved states to keep", low=1)
    patience: int = option(
        50,
        "ticks after which a collapsed training stops: one side always wins, or generated people are all alike; 0: never",
        low=0,
    )
    log_every_images: int = option(1000, "images between two lines of the log", low=1)
    preview_every: int = option(10, "ticks between two preview grids", low=1)
    tensorboard: bool = option(False, "also write curves and previews for TensorBoard (package tensorboard)")
    wandb: bool = option(False, "also send them to Weights & Biases (package wandb)")
