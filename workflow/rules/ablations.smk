# Variants of the network and its training, side by side over seeds: snakemake --cores all ablations
from pathlib import Path
from shlex import quote

from ag3d.config.ablations import FULL, read_variants, variant

A = f"{R}/ablations"
SEEDS = settings.ablations.seeds


def ablation_folder():
    """Beside the Snakefile where the working directory has none."""
    folder = Path(settings.ablations.folder)
    return folder if folder.exists() else Path(workflow.basedir) / folder


try:
    VARIANTS = {
        (name, str(seed)): variant(config, changes, seed)
        for name, changes in read_variants(ablation_folder()).items()
        for seed in SEEDS
    }
except UserError as error:
    raise WorkflowError(printable(error))


def ablation_metrics(name, seed):
    """The run itself is the full model with its own seed."""
    if name == FULL and int(seed) == settings.training.seed:
        return f"{R}/metrics/{LAST}.json"
    return f"{A}/{name}/{seed}/metrics/{LAST}.json"


for (name, seed), chosen in VARIANTS.items():
    config_file(f"{A}/{name}/{seed}", f"training/{LAST}", until_milestone(chosen, LAST))


use rule training as ablation_training with:
    input:
        config=f"{A}/{{variant}}/{{seed}}/config/training/{{kimg}}.json",
        machine=ancient(MACHINE),
        beginning=lambda wildcards: beginning(
            VARIANTS[wildcards.variant, wildcards.seed]
        ),
        data=ancient(shards("{D}/dataset/{shard}.zip")),
        index=ancient(f"{D}/index.json"),
        body=ancient(BODY),
    output:
        f"{A}/{{variant}}/{{seed}}/training/{{kimg}}/generator_ema.safetensors",
        f"{A}/{{variant}}/{{seed}}/training/{{kimg}}/generator.safetensors",
        f"{A}/{{variant}}/{{seed}}/training/{{kimg}}/discriminator.safetensors",
        f"{A}/{{variant}}/{{seed}}/training/{{kimg}}/checkpoint.json",
    log:
        f"{A}/{{variant}}/{{seed}}/logs/training/{{kimg}}.log",
    benchmark:
        f"{A}/{{variant}}/{{seed}}/benchmarks/training/{{kimg}}.tsv"
    message:
        "Training {wildcards.variant}, seed {wildcards.seed}, up to {wildcards.kimg} kimg"


use rule metrics as ablation_metrics with:
    input:
        checkpoint=network(f"{A}/{{variant}}/{{seed}}/training/{{kimg}}"),
        config=config_file(R, "metrics", section("evaluation")),
        data=ancient(shards("{D}/dataset/{shard}.zip")),
        poses=ancient(f"{D}/poses.npy"),
        body=ancient(BODY),
        models=ancient(BLAZEPOSE),
        inception=ancient(INCEPTION),
    output:
        json=f"{A}/{{variant}}/{{seed}}/metrics/{{kimg}}.json",
        picture=(
            [f"{A}/{{variant}}/{{seed}}/metrics/{{kimg}}.neighbours.png"]
            if NEIGHBOURS
            else []
        ),
    log:
        f"{A}/{{variant}}/{{seed}}/logs/metrics/{{kimg}}.log",
    benchmark:
        f"{A}/{{variant}}/{{seed}}/benchmarks/metrics/{{kimg}}.tsv"
    message:
        "Measuring {wildcards.variant}, seed {wildcards.seed}"


rule ablations:
    input:
        [ablation_metrics(name, seed) for name, seed in VARIANTS],
    output:
        expand(f"{R}/tables/ablations.{{suffix}}", suffix=["csv", "md", "tex", "json"]),
        report(
            f"{R}/tables/ablations.html",
            caption="../report/ablations.rst",
            category="Measurements",
            labels={"shows": "table of the ablations"},
        ),
    log:
        f"{R}/logs/ablations.log",
    benchmark:
        f"{R}/benchmarks/ablations.tsv"
    resources:
        **job(1000, 30),
    params:
        measured=" ".join(
            f"--measured {quote(name)} {quote(ablation_metrics(name, seed))}"
            for name, seed in VARIANTS
        ),
    message:
        "Making the table of ablations"
    shell:
        "python -m ag3d.evaluation.tables.ablations {params.measured} --output $(dirname {output[0]:q}) > {log} 2>&1"


wildcard_constraints:
    variant=r"[^/]+",
    seed=r"[0-9]+",
