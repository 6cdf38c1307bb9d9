# The workflow's entry: reads and checks the configuration, includes the rules of the stages.
# Another experiment: snakemake --cores all --configfile config/photos.yaml (it takes the place of config.yaml).
from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/body.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/photos.smk"
include: "workflow/rules/people.smk"
include: "workflow/rules/matting.smk"
include: "workflow/rules/fitting.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/normals.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/avatars.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/viewer.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/truth.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/ablations.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/config.smk"


workflow.default_target = "all"
