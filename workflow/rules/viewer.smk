rule viewer:
    input:
        f"{R}/avatars/avatars.json",
        f"{R}/export/export.json",
    output:
        report(
            f"{R}/viewer.html",
            caption="../report/viewer.rst",
            category="Avatars",
            labels={"shows": "avatars to turn around"},
        ),
    log:
        f"{R}/logs/viewer.log",
    benchmark:
        f"{R}/benchmarks/viewer.tsv"
    resources:
        **job(2000, 10),
    message:
        "Writing the page of the avatars in 3D"
    shell:
        "python -m ag3d.viewer --run {R} --output {output:q} > {log} 2>&1"
