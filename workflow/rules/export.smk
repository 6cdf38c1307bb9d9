rule export:
    input:
        checkpoint=network(f"{R}/ckpt/{LAST}"),
        settings=f"{R}/settings/export.json",
        poses=ancient(f"{D}/poses.npy"),
        body=ancient(BODY),
    output:
        expand(
            f"{R}/export/{{seed:06d}}.glb",
            seed=range(
                settings.avatars.seed, settings.avatars.seed + settings.export.number
            ),
        ),
        report(
            f"{R}/export/meshes.png",
            caption="../report/meshes.rst",
            category="Avatars",
            labels={"shows": "meshes"},
        ),
        f"{R}/export/export.json",
    log:
        f"{R}/logs/export.log",
    benchmark:
        f"{R}/benchmarks/export.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 64
    resources:
        mem_mb=more(4000),
        runtime=more(60),
        nodes=1,
        gpu=min(1, settings.machine.gpus),
    params:
        settings=section("export"),
        seed=settings.avatars.seed,
        truncation=settings.avatars.truncation,
    message:
        "Exporting rigged avatars"
    shell:
        "python -m ag3d.model.export all --checkpoint $(dirname {input.checkpoint[0]}) --body {input.body}"
        " --poses {input.poses} --output $(dirname {output[0]}) --seed {params.seed} --truncation {params.truncation}"
        " --settings {params.settings:q} > {log} 2>&1"
