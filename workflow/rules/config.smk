# Settings, one file for each command (config_file). The content lies in Snakemake's own folder by its hash, so that a rule's
# parameter can name it and none of its text passes a shell.
def config_source(wildcards):
    content = CONFIG[wildcards.path]
    source = Path(".snakemake/config") / f"{digest(content)}.json"
    if not source.exists():
        write_json(source, content)
    return str(source)


rule config:
    output:
        "{path}",
    wildcard_constraints:
        path="|".join(re.escape(path) for path in CONFIG),
    params:
        source=config_source,
    message:
        "Settings: {output}"
    shell:
        "cp {params.source} {output:q}"


# With --sdm conda, all commands run in this environment.
for each in workflow.rules:
    if each.shellcmd:
        each.conda_env = "../../envs/ag3d.yaml"
