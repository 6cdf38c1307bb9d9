#!/usr/bin/env bash
# Snakemake asks with the job's name, and wants to read: running, success or failed. For PBS: qstat -x also knows finished jobs.
set -euo pipefail
if ! job=$(qstat -x -f "$1" 2> /dev/null); then
    echo running # the server does not answer; Snakemake asks again
    exit
fi
if ! grep -q "job_state = F" <<< "$job"; then
    echo running
elif grep -q "Exit_status = 0$" <<< "$job"; then
    echo success
else
    echo failed
fi
