# The whole pipeline in an image: docker build -t ag3d . ; mkdir -p results
# docker run --user $(id -u):$(id -g) -v $PWD/results:/ag3d/results ag3d --cores all
FROM debian:12-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

# python3-venv: the interpreter; make: the Makefile's setup. Everything else comes with pip; clusters: for pods, which need S3.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /ag3d
COPY . .
# Any user may run it, also one without an entry in /etc/passwd: what it writes lies in results, .snakemake and this home.
RUN make setup clusters \
    && chmod -R a+rX . \
    && mkdir results \
    && useradd --create-home ag3d \
    && chmod 1777 . results /home/ag3d

ENV PATH=/ag3d/.venv/bin:$PATH
ENV HOME=/home/ag3d
ENV USER=ag3d
USER ag3d
ENTRYPOINT ["snakemake"]
CMD ["--cores", "all"]
