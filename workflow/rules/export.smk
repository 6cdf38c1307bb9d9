from ag3d.config.results import BUILT_IN_MOTIONS


def motion_files():
    """The files behind export.motions; built-in motions have none, fits of a video (FOLDER#VIDEO) those of its data set."""
    files = []
    for name in settings.export.motions:
        folder, _, video = name.rpartition("#")
        if video in BUILT_IN_MOTIONS:
            continue
        if not folder:
            files.append(own("export.motions", name))
        elif os.path.normpath(folder) == f"{D}/fits":
            files += [ancient(path) for path in shards("{D}/fits/{shard}.parquet")]
        else:
            files.append(ancient(own("export.motions", folder)))
    return files


rule export:
    input:
        checkpoint=network(f"{R}/ckpt/{LAST}"),
        config=config_file(R, "export", section("avatars", "export")),
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
