# One image for every role; docker-compose.yml says which program each container runs.
FROM python:3.12-slim AS cxrscreen

# Decoders and OpenMP of the wheels; curl for the health check of the pages.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 libgl1 libglib2.0-0 curl \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
# The pins change seldom and the code often: this layer is kept between builds.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY cxrscreen/__init__.py cxrscreen/__init__.py
RUN pip install --no-cache-dir -c constraints.txt -e '.[s3]'
COPY cxrscreen cxrscreen
COPY models models
COPY worker worker
COPY dashboard dashboard
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps -e . \
    && python -c 'from dashboard import catalogue; catalogue.compile_all()' \
    && python -m compileall -q cxrscreen models worker dashboard migrations \
    && useradd --create-home --uid 10001 cxrscreen \
    && install -d -o cxrscreen /data

USER cxrscreen
ENV CXRSCREEN_DATA_DIR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8470
CMD ["cxrscreen", "--help"]
