from ag3d.config.results import BUILT_IN_MOTIONS


def motion_files():
    """The files behind export.motions; built-in motions have none, fits (FOLDER#VIDEO) those of its data set."""
    files = []
    for name in settings.export.motions:
        path = name.partition("#")[0]
        if path in BUILT_IN_MOTIONS:
            continue
        if os.path.abspath(path) == os.path.abspath(f"{D}/fitting"):
            files += [ancient(path) for path in shards("{D}/fitting/{shard}.parquet")]
        else:
            file = own("export.motions", path)
            files.append(ancient(file) if os.path.isdir(path) else file)
    return files


rule export:
    input:
        checkpoint=network(f"{R}/training/{LAST}"),
        config=config_file(
            R, "export", section("avatars.seed", "avatars.truncation", "export")
        ),
        motions=motion_files(),
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
    threads: 64
    resources:
        **job(4000, 60),
        nodes=1,
        gpu=min(1, settings.machine.gpus),
    message:
        "Exporting rigged avatars"
    shell:
        "python -m ag3d.model.export all --checkpoint $(dirname {input.checkpoint[0]:q}) --body {input.body:q}"
        " --poses {input.poses:q} --output $(dirname {output[0]:q}) --config {input.config:q} > {log} 2>&1"
