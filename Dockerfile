# The whole pipeline in an image: docker build -t ag3d . ; docker run -v $PWD/results:/ag3d/results ag3d --cores all
FROM debian:12-slim

# python3-venv: the interpreter; make: the Makefile's setup. Everything else comes with pip; clusters: for pods, which need S3.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ag3d
COPY . .
RUN make setup clusters

ENV PATH=/ag3d/.venv/bin:$PATH
ENTRYPOINT ["snakemake"]
CMD ["--cores", "all"]
