# Settings as small files, for rules that take data as `ancient`: when new photographs come in, Snakemake looks at the
# other inputs of such a rule, but no longer at its parameters.
CONTENTS = {
    "avatars": section("avatars"),
    "export": section("avatars", "export"),
    "evaluation": section("evaluation"),
}


def training_content(wildcards):
    params = rules.training.params
    training = (
        params.training(wildcards) if callable(params.training) else params.training
    )
    return json.dumps([params.data_name, params.network, training])


rule settings:
    output:
        f"{R}/settings/{{part}}.json",
    wildcard_constraints:
        part="|".join(CONTENTS),
    conda:
        "../../envs/ag3d.yaml"
    params:
        content=lambda wildcards: CONTENTS[wildcards.part],
    message:
        "Settings of {wildcards.part}"
    shell:
        "printf '%s\n' {params.content:q} > {output}"


rule training_settings:
    output:
        f"{R}/settings/training-{{kimg}}.json",
    conda:
        "../../envs/ag3d.yaml"
    params:
        content=training_content,
    message:
        "Settings of the training up to {wildcards.kimg} kimg"
    shell:
        "printf '%s\n' {params.content:q} > {output}"
