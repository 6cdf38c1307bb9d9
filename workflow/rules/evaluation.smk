from ag3d.evaluation.metrics.inception_file import check_file

try:
    INCEPTION = (
        [own("evaluation.inception", str(check_file(settings.evaluation.inception)))]
        if settings.evaluation.inception
        else []
    )
except UserError as error:
    raise WorkflowError(str(error))
NEIGHBOURS = "neighbours" in settings.evaluation.metrics


rule metrics:
    input:
        checkpoint=network(f"{R}/training/{{kimg}}"),
        config=config_file(R, "evaluation"),
        data=ancient(shards("{D}/dataset/{shard}.zip")),
        poses=ancient(f"{D}/poses.npy"),
        body=ancient(BODY),
        models=ancient(BLAZEPOSE),
        inception=ancient(INCEPTION),
    output:
        json=report(
            f"{R}/metrics/{{kimg}}.json",
            caption="../report/metrics.rst",
            category="Measurements",
            labels={"shows": "all values, {kimg} kimg"},
        ),
        picture=report(
            [f"{R}/metrics/{{kimg}}.neighbours.png"] if NEIGHBOURS else [],
            caption="../report/neighbours.rst",
            category="Measurements",
            labels={"shows": "nearest training images, {kimg} kimg"},
        ),
    log:
        f"{R}/logs/metrics/{{kimg}}.log",
    benchmark:
        f"{R}/benchmarks/metrics/{{kimg}}.tsv"
    threads: 2
    resources:
        **job(6000, 480),
        nodes=1,
        gpu=settings.machine.gpus,
    message:
        "Measuring the network at {wildcards.kimg} kimg"
    shell:
        "python -m ag3d.core.launch --gpus {resources.gpu} ag3d.evaluation.metrics --checkpoint $(dirname {input.checkpoint[0]:q}) --body {input.body:q}"
        " --poses {input.poses:q} --data {input.data:q} --models $(dirname {input.models[0]:q})"
        " --output {output.json:q} --config {input.config:q}"
        + (" --picture {output.picture:q}" if NEIGHBOURS else "")
        + " > {log} 2>&1"


if SYNTHETIC:

    rule truth:
        input:
            f"{D}/rejected.parquet",
            local(f"{D}/synthetic/truth/truth.parquet"),
            local(f"{D}/synthetic/truth/truth.zip"),
            body=ancient(BODY),
        output:
            report(
                f"{D}/truth.json",
                caption="../report/truth.rst",
                category="Data set",
                labels={"shows": "stages against the truth"},
            ),
        log:
            f"{D}/logs/truth.log",
        benchmark:
            f"{D}/benchmarks/truth.tsv"
        resources:
            **job(3000, 120),
        params:
            shards=settings.photos.shards,
        message:
            "Comparing every stage with the truth"
        shell:
            "python -m ag3d.evaluation.truth --folder {D} --truth {D}/synthetic/truth --body {input.body:q} --shards {params.shards}"
            " --output {output:q} > {log} 2>&1"
