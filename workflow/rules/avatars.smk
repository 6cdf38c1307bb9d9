rule avatars:
    input:
        checkpoint=network(f"{R}/training/{LAST}"),
        config=config_file(R, "avatars"),
        poses=ancient(f"{D}/poses.npy"),
        body=ancient(BODY),
    output:
        report(
            f"{R}/avatars/samples.png",
            caption="../report/samples.rst",
            category="Avatars",
            labels={"shows": "generated people"},
        ),
        report(
            f"{R}/avatars/canonical.png",
            caption="../report/canonical.rst",
            category="Avatars",
            labels={"shows": "people in the canonical pose"},
        ),
        report(
            f"{R}/avatars/normals.png",
            caption="../report/normals.rst",
            category="Avatars",
            labels={"shows": "normal maps"},
        ),
        report(
            f"{R}/avatars/raw.png",
            caption="../report/raw.rst",
            category="Avatars",
            labels={"shows": "renderings before super-resolution"},
        ),
        report(
            f"{R}/avatars/depth.png",
            caption="../report/depth.rst",
            category="Avatars",
            labels={"shows": "depth"},
        ),
        report(
            f"{R}/avatars/novel_view.mp4",
            caption="../report/novel_view.rst",
            category="Avatars",
            labels={"shows": "new views"},
        ),
        report(
            f"{R}/avatars/turn.mp4",
            caption="../report/turn.rst",
            category="Avatars",
            labels={"shows": "people turning"},
        ),
        report(
            f"{R}/avatars/animation.mp4",
            caption="../report/animation.rst",
            category="Avatars",
            labels={"shows": "a walk"},
        ),
        report(
            f"{R}/avatars/interpolation.mp4",
            caption="../report/interpolation.rst",
            category="Avatars",
            labels={"shows": "from one person to the next"},
        ),
        expand(
            f"{R}/avatars/{{name}}",
            name=["interpolation.png", "walk.npz", "avatars.json"],
        ),
    log:
        f"{R}/logs/avatars.log",
    benchmark:
        f"{R}/benchmarks/avatars.tsv"
    threads: 64
    resources:
        **job(6000, 240),
        nodes=1,
        gpu=min(1, settings.machine.gpus),
    message:
        "Making avatars"
    shell:
        "python -m ag3d.model.avatars --checkpoint $(dirname {input.checkpoint[0]:q}) --body {input.body:q}"
        " --poses {input.poses:q} --output $(dirname {output[0]:q}) --config {input.config:q} > {log} 2>&1"
