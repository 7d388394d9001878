# docker build -t nucdet .
# docker run --rm -v "$PWD:/data" nucdet --input /data/images --output /data/results
FROM python:3.11-slim

# Debian keeps no older versions to pin
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /nucdet
COPY . .
RUN make .venv && rm -rf /root/.cache
ENV PATH=/nucdet/.venv/bin:$PATH

ENTRYPOINT ["nucdet-predict"]
