from ag3d.evaluation.metrics.inception_file import check_file

try:
    INCEPTION = (
        [own("evaluation.inception", str(check_file(settings.evaluation.inception)))]
        if settings.evaluation.inception
        else []
    )
except UserError as error:
    raise WorkflowError(printable(error))
NEIGHBOURS = "neighbours" in settings.evaluation.metrics


rule metrics:
    input:
        checkpoint=network(f"{R}/training/{{kimg}}"),
        config=config_file(R, "metrics", section("evaluation")),
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
